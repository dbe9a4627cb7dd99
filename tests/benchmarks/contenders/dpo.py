"""One contender of the DPO benchmark, in a process of its own.

``python -m tests.benchmarks.contenders.dpo KIND STEPS DEVICE MODEL`` trains N steps for each line 'N' it reads;
``KIND:OBJECTIVE ... FILE`` writes loss and gradients of the first batch to a file instead.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from tests.benchmarks.contenders.training import Turns, peak_mb, say

PAIRS_PER_STEP = 16
BETA = 0.1
EQUAL_PAIRS = 4
MICRO = {"cpu": (2, 8), "cuda": (16, 1)}


def load(steps: int, device: str, model: str, one_token: bool = False) -> tuple[Any, Any, Any, list[Any]]:
    """Base model, tokenizer, recipe, and the pairs in the order in which they are trained: to each question its own
    answer, and as the worse one that of another question. With ``one_token`` of the prompt only its first is left."""
    from tuning.data.batches import encode_rows
    from tuning.data.chat import Example, Pair
    from tuning.data.dataset import load as load_data
    from tuning.models.device import pick_device
    from tuning.models.weights import load_model, load_tokenizer, resolve
    from tuning.presets import preset

    config = dataclasses.replace(
        preset("quick"), model=model, objective="dpo", beta=BETA, dropout=0.0, learning_rate=1e-4, warmup_steps=1,
        schedule="constant", max_steps=steps, batch_size=PAIRS_PER_STEP,
    )  # fmt: skip
    weights = resolve(config.model)
    tokenizer = load_tokenizer(weights)
    examples = encode_rows(tokenizer, load_data(config.data).train, config.max_tokens, "training").examples
    examples = examples[: steps * PAIRS_PER_STEP + 1]
    if one_token:
        examples = [Example(example.prompt_ids[:1], example.answer_ids) for example in examples]
    pairs = [
        Pair(one, Example(one.prompt_ids, other.answer_ids))
        for one, other in pairwise(examples)
        if one.answer_ids != other.answer_ids
    ]
    return load_model(weights, pick_device(device)), tokenizer, config, pairs


def waken(factors: dict[str, Any]) -> None:
    """Give the B factors, which begin at nought, the same values everywhere, so that every gradient is alive."""
    import torch

    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, factor in sorted(factors.items()):
            values = torch.randn(factor.shape, generator=generator)
            factor.copy_(values * (0.02 if "lora_B" in name else 0.05))


def write(factors: dict[str, Any], loss: Any, path: str) -> None:
    """Write loss and gradients."""
    from safetensors.torch import save_file

    save_file({name: factor.grad.contiguous() for name, factor in factors.items()} | {"loss": loss}, path)


def ours(steps: int, device: str, model: str, objective: str, path: str | None, turns: Turns) -> None:
    """This project's loop; its references are computed before the first step, as in a run."""
    import torch

    from tuning.training.adapter.lora import trainable
    from tuning.training.reference import log_probs
    from tuning.training.step import accumulate, open_session, train_step

    base, _, config, pairs = load(steps, device, model, objective.endswith("one-token"))
    config = dataclasses.replace(config, objective=objective.partition("-")[0])
    session = open_session(base, config, pairs, say=lambda message: print(message, file=sys.stderr))
    if path is not None:
        batch = pairs[:EQUAL_PAIRS]
        known = log_probs(session, batch)  # the adapter does nothing yet
        waken(trainable(session.model))
        batch = [dataclasses.replace(pair, reference=each) for pair, each in zip(batch, known, strict=True)]
        sums, _ = accumulate(session, batch, range(len(batch)), key=0)
        factors = trainable(session.model)
        for factor in factors.values():
            factor.grad /= len(batch)
        write(factors, torch.tensor(sums[0] / len(batch)), path)
        return
    known = log_probs(session, pairs)
    session.examples = [dataclasses.replace(pair, reference=each) for pair, each in zip(pairs, known, strict=True)]
    say("ready")
    for step in range(steps):
        turns.wait()
        stats = train_step(session, step)
        say(
            json.dumps(
                {"loss": stats.loss, "pairs": PAIRS_PER_STEP, "seconds": stats.seconds, "peak_mb": peak_mb(device)}
            )
        )


def theirs(
    steps: int, device: str, model: str, objective: str, path: str | None, turns: Turns, exact: bool = False
) -> None:
    """TRL's trainer on the same pairs, tokens, adapter and optimizer; its references, too, are computed beforehand.
    ``exact`` computes in float64."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    base, tokenizer, config, pairs = load(steps, device, model, objective.endswith("one-token"))
    if exact:
        base = base.double()
    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules=list(config.target_modules),
        task_type="CAUSAL_LM",
    )  # fmt: skip
    tuned = get_peft_model(base, lora, autocast_adapter_dtype=False)
    factors = {name: parameter for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    if objective.startswith("orpo"):
        waken(factors)
        loss = orpo_loss(tuned, tokenizer, pairs[:EQUAL_PAIRS])
        loss.backward()
        write(factors, loss.detach(), str(path))
        return
    micro, passes = MICRO[device]
    rows = [
        {"prompt_ids": p.prompt_ids, "chosen_ids": p.chosen.answer_ids, "rejected_ids": p.rejected.answer_ids}
        for p in pairs
    ]
    counted = {"began": 0.0}

    class Prepared(DPOTrainer):  # type: ignore[misc]
        """Rows as they are, in the order given."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(dataset if dataset is not None else self.train_dataset)

    class Reporter(TrainerCallback):  # type: ignore[misc]
        """Waits before each step, times it, and tells the parent when its loss is logged."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()
            counted["began"] = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if device != "cpu":
                torch.cuda.synchronize()
            counted["seconds"] = time.perf_counter() - counted["began"]

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                figures = {"loss": float(logs["loss"]), "pairs": PAIRS_PER_STEP, "seconds": counted["seconds"]}
                say(json.dumps(figures | {"peak_mb": peak_mb(device)}))

    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(), max_steps=steps, per_device_train_batch_size=micro,
        gradient_accumulation_steps=passes, learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup", warmup_steps=1, weight_decay=config.weight_decay,
        max_grad_norm=config.clip_norm, optim="adamw_torch", seed=config.seed, logging_steps=1, save_strategy="no",
        report_to=[], use_cpu=device == "cpu", bf16=device != "cpu", gradient_checkpointing=False, disable_tqdm=True,
        remove_unused_columns=False, beta=BETA, precompute_ref_log_probs=path is None, max_length=None,
    )  # fmt: skip
    trainer = Prepared(model=tuned, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    if path is not None:
        waken(factors)
        loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows[:EQUAL_PAIRS]))
        loss.backward()
        write(factors, loss.detach(), path)
        return
    trainer.add_callback(Reporter())
    say("ready")
    trainer.train()


def orpo_loss(model: Any, tokenizer: Any, pairs: list[Any]) -> Any:
    """TRL's ORPO loss of a batch, from its trainer's own methods."""
    import torch
    from trl.experimental.orpo import ORPOTrainer

    trainer = object.__new__(ORPOTrainer)
    trainer.is_encoder_decoder = trainer.aux_loss_enabled = False
    trainer.padding_value, trainer.beta = 0, BETA
    trainer.accelerator = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda value: value)
    batch: dict[str, Any] = {}
    for side in ("chosen", "rejected"):
        examples = [getattr(pair, side) for pair in pairs]
        width = max(len(example) for example in examples)
        ids = torch.zeros(len(pairs), width, dtype=torch.int64)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, example in enumerate(examples):
            tokens = torch.tensor(example.prompt_ids + example.answer_ids)
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
            labels[row, len(example.prompt_ids) : len(tokens)] = tokens[len(example.prompt_ids) :]
        batch |= {f"{side}_input_ids": ids, f"{side}_attention_mask": mask, f"{side}_labels": labels}
    loss, _ = trainer.get_batch_loss_metrics(model, batch, "train")
    return loss


def main() -> None:
    """Train as told, or write what one batch gives."""
    os.dup2(2, 1)  # whatever libraries print must not reach the parent's pipe
    kind, _, objective = sys.argv[1].partition(":")
    steps, device, model = int(sys.argv[2]), sys.argv[3], sys.argv[4]
    path = sys.argv[5] if len(sys.argv) > 5 else None
    if kind == "ours":
        ours(steps, device, model, objective, path, Turns())
    else:
        theirs(steps, device, model, objective, path, Turns(), exact=kind == "trl64")


if __name__ == "__main__":
    main()
