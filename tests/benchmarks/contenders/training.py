"""One contender of the training benchmark, in a process of its own: trains N steps for each line 'N' it reads.

``python -m tests.benchmarks.contenders.training KIND STEPS DEVICE MODEL``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from typing import Any

EXAMPLES_PER_STEP = 16
ORIGINAL_LENGTH = 2048
PACKED_LENGTH = 1024
# Rows per pass and passes per step: what is fastest on a CPU, and what fills a GPU. Packed rows of 1,024 hold about
# seven examples each. Padded to 2,048 a whole step takes minutes on a CPU: there its turns are a quarter of a step.
ON_CPU = {"trainer-dynamic": (4, 4), "trainer-original": (1, 4), "trl-packed": (1, 2)}
ON_GPU = {"trainer-original": (4, 4), "trl-packed": (2, 1)}
reports = os.fdopen(os.dup(1), "w")


def say(text: str) -> None:
    """Tell the parent; everything else that libraries print goes to standard error."""
    reports.write(text + "\n")
    reports.flush()


def peak_mb(device: str) -> float:
    """The most memory held so far, MiB: of the process on a CPU, else what was allocated on the device."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    import torch

    return torch.cuda.max_memory_allocated() / 2**20


class Turns:
    """Waits for the parent between turns."""

    def __init__(self) -> None:
        self.left = 0

    def wait(self) -> None:
        """Return once a step may run; the process ends with its parent."""
        while self.left == 0:
            line = sys.stdin.readline()
            if not line:
                sys.exit(0)
            self.left = int(line)
        self.left -= 1


def load(steps: int, device: str, model: str) -> tuple[Any, Any, Any, list[Any]]:
    """Base model, tokenizer, recipe, and the rows of all steps in the order in which they are trained."""
    from tuning.data.batches import encode_rows, step_rows
    from tuning.data.dataset import load as load_data
    from tuning.models.device import pick_device
    from tuning.models.weights import load_model, load_tokenizer, resolve
    from tuning.presets import preset

    config = replace(preset("quick"), model=model, max_steps=steps, warmup_steps=1, schedule="constant")
    weights = resolve(config.model)
    tokenizer = load_tokenizer(weights)
    examples = encode_rows(tokenizer, load_data(config.data).train, config.max_tokens, "training").examples
    rows = [n for step in range(steps) for n in step_rows(step, EXAMPLES_PER_STEP, len(examples), config.seed)]
    return load_model(weights, pick_device(device)), tokenizer, config, [examples, rows]


def run_ours(steps: int, device: str, model: str, turns: Turns) -> None:
    """This project's loop."""
    from tuning.training.step import open_session, train_step

    base, _, config, (examples, _) = load(steps, device, model)
    session = open_session(base, config, examples, say=lambda message: print(message, file=sys.stderr))
    say("ready")
    for step in range(steps):
        turns.wait()
        stats = train_step(session, step)
        figures = {name: getattr(stats, name) for name in ("loss", "tokens", "computed_tokens", "trained_tokens")}
        say(json.dumps(figures | {"seconds": stats.seconds, "peak_mb": peak_mb(device)}))


def run_peer(kind: str, steps: int, device: str, name: str, turns: Turns) -> None:
    """HF's Trainer, or TRL's SFTTrainer, on the same rows, labels, adapter and optimizer."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainerCallback, TrainingArguments

    model, tokenizer, config, (examples, rows) = load(steps, device, name)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.target_modules),
        task_type="CAUSAL_LM",
    )
    table = Dataset.from_list(
        [
            {
                "input_ids": examples[n].prompt_ids + examples[n].answer_ids,
                "labels": [-100] * len(examples[n].prompt_ids) + examples[n].answer_ids,
            }
            for n in rows
        ]
    )
    micro, accumulate = ON_CPU.get(kind, (2, 8)) if device == "cpu" else ON_GPU.get(kind, (EXAMPLES_PER_STEP, 1))
    shared = {
        "output_dir": tempfile.mkdtemp(),
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 1,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.clip_norm,
        "optim": "adamw_torch",
        "seed": config.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": device == "cpu",
        "bf16": device != "cpu",
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }
    counted = {"tokens": 0, "trained": 0}

    class Reporter(TrainerCallback):
        """Waits before each step, times it, and tells the parent when its loss is logged."""

        began = 0.0
        seconds = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if device != "cpu":
                torch.cuda.synchronize()
            self.seconds = time.perf_counter() - self.began

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                figures = {"loss": float(logs["loss"]), "tokens": counted["tokens"], "seconds": self.seconds}
                say(json.dumps(figures | {"trained_tokens": counted["trained"], "peak_mb": peak_mb(device)}))

    class InOrder:
        """Rows in the order given; and each step's real tokens are counted as the step takes its batches."""

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            if kind == "trl-grouped":
                return super()._get_train_sampler(dataset)
            return torch.utils.data.SequentialSampler(dataset if dataset is not None else self.train_dataset)

        def get_batch_samples(self, *arguments: Any, **options: Any) -> Any:
            batches, items = super().get_batch_samples(*arguments, **options)
            counted["trained"] = sum(int((batch["labels"] != -100).sum()) for batch in batches)
            counted["tokens"] = sum(real_tokens(batch) for batch in batches)
            return batches, items

    def real_tokens(batch: dict[str, Any]) -> int:
        return int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel()

    def collate(features: list[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(feature["input_ids"]) for feature in features)
        length = ORIGINAL_LENGTH if kind == "trainer-original" else longest
        pad = {"input_ids": tokenizer.pad_token_id, "labels": -100, "attention_mask": 0}
        lists = {name: [] for name in pad}
        for feature in features:
            feature = feature | {"attention_mask": [1] * len(feature["input_ids"])}
            for name, value in pad.items():
                lists[name].append(list(feature[name]) + [value] * (length - len(feature[name])))
        return {name: torch.tensor(value) for name, value in lists.items()}

    if kind.startswith("trainer"):
        trainer_type = type("OrderedTrainer", (InOrder, Trainer), {})
        model = get_peft_model(model, lora)
        trainer = trainer_type(
            model=model, args=TrainingArguments(**shared), train_dataset=table, data_collator=collate
        )
    else:
        from trl import SFTConfig, SFTTrainer

        if kind == "trl-grouped":
            shared["train_sampling_strategy"] = "group_by_length"
        arguments = SFTConfig(**shared, packing=kind == "trl-packed", max_length=PACKED_LENGTH)
        trainer_type = type("OrderedSFTTrainer", (InOrder, SFTTrainer), {})
        trainer = trainer_type(
            model=model, args=arguments, train_dataset=table, processing_class=tokenizer, peft_config=lora
        )
    trainer.add_callback(Reporter())
    say("ready")
    trainer.train()


def main() -> None:
    """Train as told."""
    os.dup2(2, 1)  # whatever libraries print must not reach the parent's pipe
    kind, steps, device, model = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    turns = Turns()
    run_ours(steps, device, model, turns) if kind == "ours" else run_peer(kind, steps, device, model, turns)


if __name__ == "__main__":
    main()
