"""Adapters: put them on a base through peft, and write them as peft reads them, with a card for people."""

from __future__ import annotations

import errno
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.chat import PYTHON_FORMAT, PromptFormat
from tuning.data.own_sets import OWN_SETS
from tuning.data.place import is_place, parse
from tuning.errors import UserError
from tuning.file_names import RECORD_FILE, WEIGHTS_FILE
from tuning.files import replacing_folder, without_folder
from tuning.kernels.dropout import KeyedDropout, Noise
from tuning.presets import Config
from tuning.quiet import quiet
from tuning.runs import start_adapter
from tuning.runs.run import MAY_BE_FILES
from tuning.training.adapter.targets import is_transposed, with_targets
from tuning.training.parallel import Ranks
from tuning.upstream.bitsandbytes_parts import keep_weight_layout

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel

ADAPTER = "default"
LOSSES = {
    "sft": "The loss is the mean of -log p over answer tokens, the closing token included.",
    "dpo": "The loss is that of direct preference optimisation (Rafailov et al. 2023), a mean over pairs.",
    "verified": "The loss is the mean of -log p over answer tokens, of the data's answers and of the model's own that "
    "passed their check (rejection sampling, Yuan et al. 2023).",
    "orpo": "The loss is that of odds-ratio preference optimisation (Hong et al. 2024).",
}
INPUT_GROUPS = {"q_proj": 0, "k_proj": 0, "v_proj": 0, "o_proj": 1, "gate_proj": 2, "up_proj": 2, "down_proj": 3}


def attach(
    model: PreTrainedModel, config: Config, noise: Noise, start: Path | None = None, ranks: Ranks | None = None
) -> PeftModel:
    """Freeze ``model`` and give its target layers fresh fp32 LoRA factors, seeded by ``config.seed``.

    The dropout modules become :class:`KeyedDropout` on ``noise``. Factors that begin in the weights are kept in the
    folder ``start``. Raises UserError for a target layer that the model does not have.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    config = with_targets(config, model, lambda _: None)
    modules = [module for name, module in model.named_modules() if name.rpartition(".")[2] in config.target_modules]
    torch.manual_seed(config.seed)
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # peft divides by it: any number will do
        lora_dropout=config.dropout,
        target_modules=list(config.target_modules),
        use_rslora=config.rslora,
        use_dora=config.dora,
        task_type="CAUSAL_LM",
        fan_in_fan_out=any(is_transposed(module) for module in modules),
    )
    with quiet():
        tuned = get_peft_model(model, settings)
    without_own_dropout(tuned)
    keep_weight_layout(tuned)
    for name, module in tuned.named_modules():
        if hasattr(module, "lora_dropout") and ADAPTER in module.lora_dropout:
            module.lora_dropout[ADAPTER] = KeyedDropout(config.dropout, salt_of(name), noise)
    if config.neftune:
        from tuning.kernels.embedding_noise import add_noise

        add_noise(model, config.neftune, noise)
    if config.init == "pissa":
        from tuning.training.adapter import pissa

        pissa.begin(tuned, start, ranks or Ranks())
    return tuned


def without_own_dropout(model: nn.Module) -> None:
    """Switch off the dropout of the base itself (GPT-2 and OPT have some): only the adapter's is wanted, and only that
    is the same again when a run is resumed."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if ("dropout" in name or "pdrop" in name) and isinstance(value, float):
                setattr(module, name, 0.0)


def salt_of(name: str) -> int:
    """A number that is the same for layers that read the same input, and another for all others."""
    layer = re.search(r"\.(\d+)\.", name)
    group = INPUT_GROUPS.get(name.rpartition(".")[2])
    if layer and group is not None:
        return int(layer.group(1)) * 4 + group
    return zlib.crc32(name.encode()) | 1 << 32


def trainable(model: nn.Module) -> dict[str, torch.nn.Parameter]:
    """The adapter's factors by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_adapter(
    model: PeftModel, folder: Path, base: str, record: dict[str, Any], files: Mapping[str, str] | None = None
) -> None:
    """Write ``folder`` anew in peft's format: factors, configuration, run record and model card.

    ``base`` is the name that the configuration gives its base model; ``files`` are texts that lie beside it. The
    folder is replaced in one move, so a reader sees the old adapter or the new one. Raises OSError if the disk is
    full; the old adapter then stays.
    """
    try:
        with replacing_folder(folder) as fresh:
            model.peft_config[ADAPTER].base_model_name_or_path = base
            with quiet():
                model.save_pretrained(str(fresh), save_embedding_layers=False)
            if is_pissa(record["config"]):
                from tuning.training.adapter import pissa

                pissa.as_plain(model, fresh)
            (fresh / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            for name, text in (files or {}).items():
                (fresh / name).write_text(text, encoding="utf-8")
            (fresh / "README.md").write_text(model_card(base, record), encoding="utf-8")
    except Exception as error:
        if "No space left" in str(error):
            # safetensors has an exception of its own for it
            raise OSError(errno.ENOSPC, "No space left on device", str(folder)) from error
        raise


def model_card(base: str, record: dict[str, Any]) -> str:
    """The adapter's README.md, with the metadata that the Hub reads."""
    config = record["config"]
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in facts(record).items())
    return f"""---
base_model: {base}
library_name: peft
pipeline_tag: text-generation
tags: [{", ".join(tags(record))}]
---

# {record["name"]}

A LoRA adapter for [{base}](https://huggingface.co/{base}), trained with LoRA Lens on {data_words(record)}.

| | |
| --- | --- |
{rows}

{LOSSES[config.get("objective", "sft")]}

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("{base}")
```

{asking(record)}

## Every setting

```json
{json.dumps(published(record), indent=2)}
```
"""


def published(record: dict[str, Any]) -> dict[str, Any]:
    """The settings without the folders of the machine, which are nobody else's business."""
    settings: dict[str, Any] = record["config"]
    named = {name: without_folder(settings[name]) for name in MAY_BE_FILES if settings.get(name)}
    start = settings.get("from_adapter")
    named |= {"from_adapter": start_adapter.called(start)} if start else {}
    return settings | {"data": data_name(record)} | named


def data_name(record: dict[str, Any]) -> str:
    """The data's name without the folder that it lies in, which is nobody else's business."""
    name = str(record["data"])
    if is_place(name):
        place = parse(name)
        return f"table {place.table} of {place.path.name if place.path else f'md:{place.database}'}"
    return Path(name).name if Path(name).is_absolute() or name.startswith((".", "~")) else name


def data_words(record: dict[str, Any]) -> str:
    """What the adapter was trained on, in words."""
    if known := OWN_SETS.get(record["data"]):
        return f"{known.about} ({record['data']})"
    return f"{data_name(record)}: {record['train_rows']:,} training rows"


def tags(record: dict[str, Any]) -> list[str]:
    """The card's tags."""
    known = OWN_SETS.get(record["data"])
    return ["lora", *(known.tags if known else ()), "lora-lens"]


def asking(record: dict[str, Any]) -> str:
    """How the adapter wants to be asked, as it was trained."""
    asked = PromptFormat.from_dict(record["prompt_format"]) if "prompt_format" in record else PYTHON_FORMAT
    system = f"System prompt: {json.dumps(asked.system, ensure_ascii=False)}" if asked.system else "No system prompt"
    if asked.user is None:
        return f"{system}. The user turn is the question and, where it has one, its input on the next line."
    return f"{system}. The user turn is {json.dumps(asked.user, ensure_ascii=False)}, in which the question is put."


def facts(record: dict[str, Any]) -> dict[str, str]:
    """What the card's table says."""
    config = record["config"]
    shown = {
        "data": f"{data_name(record)} ({record['train_rows']} training rows, fingerprint {record['data_fingerprint']})",
        "steps": f"{record['steps']} of {config['max_steps']}, {config['batch_size']} examples each",
        "LoRA": f"rank {config['rank']}, alpha {config['alpha']:g}, dropout {config['dropout']:g} on "
        + ", ".join(config["target_modules"])
        + (", rank-stabilised" if config.get("rslora") else "")
        + (", with DoRA" if config.get("dora") else "")
        + (f", begun at the weights' main part (PiSSA; written as rank {2 * config['rank']})" * is_pissa(config)),
        "learning_rate": f"{config['learning_rate']:g}, {config['schedule']}, {config['warmup_steps']} warm-up steps",
        "device": record["device"],
        "base_fingerprint": record["base_fingerprint"],
    }
    if config.get("objective") == "verified":
        shown["objective"] = (
            f"verified, {config['rounds']} rounds of {config['samples']} answers to each checked question"
        )
    elif config.get("objective", "sft") != "sft":
        shown["objective"] = f"{config['objective']}, from pairs of a better and a worse answer"
    if config.get("from_adapter"):
        shown["begun_from"] = start_adapter.called(config["from_adapter"])
    for split in ("loss", "test_loss"):
        before, after = record.get(f"{split}_before"), record.get(f"{split}_after")
        if before is not None and after is not None:
            name = "validation loss" if split == "loss" else "test loss"
            shown[name] = f"{before:.4f} before, {after:.4f} after ({100 * (after / before - 1):+.1f}%)"
    return shown


def is_pissa(config: dict[str, Any]) -> bool:
    """Whether a run's factors began at the main part of the weights."""
    return config.get("init") == "pissa"


def load_factors(model: PeftModel, folder: Path) -> None:
    """Put the factors that :func:`save_adapter` wrote back into a model that has the same adapter."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    from tuning.training.adapter import pissa

    factors = load_file(folder / WEIGHTS_FILE)
    if pissa.initial_of(model):
        factors = pissa.own_half(factors, int(model.peft_config[ADAPTER].r))  # type: ignore[attr-defined]
    set_peft_model_state_dict(model, factors)


def begin_with(model: PeftModel, folder: Path) -> None:
    """Put the factors of the adapter in ``folder`` in place of the fresh ones.

    Raises UserError unless it has just the factors that ``model`` trains, in the same shapes.
    """
    import torch
    from safetensors.torch import load_file

    found = load_file(folder / WEIGHTS_FILE)
    wanted = {name.replace(f".{ADAPTER}.", "."): factor for name, factor in trainable(model).items()}
    strange = [name for name in found if name not in wanted]
    missing = [name for name in wanted if name not in found]
    if strange or missing:
        told = f"has {strange[0]}, which is not trained here" if strange else f"lacks {missing[0]}"
        raise UserError(f"The adapter to go on from {told}: it is for another model, or for other layers.")
    for name, factor in wanted.items():
        if found[name].shape != factor.shape:
            shapes = f"{list(found[name].shape)} where this model needs {list(factor.shape)}"
            raise UserError(f"The adapter to go on from is for another model: {name} has the shape {shapes}.")
        with torch.no_grad():
            factor.copy_(found[name])
