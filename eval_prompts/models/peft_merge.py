"""Adapters of every kind that peft can merge, merged by peft in fp32 into copies of just the layers they touch."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eval_prompts.models.adapter_files import PEFT_PREFIX, AdapterFiles
from eval_prompts.models.adapter_names import missing_notes
from eval_prompts.models.owned import own_module
from tuning.errors import UserError
from tuning.quiet import quiet
from tuning.upstream.bitsandbytes_parts import is_quantised

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from torch import nn
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

ADAPTER = "default"
RANDOM_STARTS = ("pissa_niter_", "corda", "lora_ga")
"""Initialisations that change the base's weights by something that is not in the adapter's files."""
HARMLESS = (".rotary_emb.inv_freq", ".num_batches_tracked")


def merge_with_peft(tuned: PreTrainedModel, files: AdapterFiles, name: str) -> tuple[PreTrainedModel, list[str]]:
    """``tuned``, a copy of the base that shares its parameters, merged with an adapter; and what is to be said of it.

    What the adapter touches gets parameters of its own first, so that the base stays as it is. They are decoded where
    the base holds them in 4 or 8 bits, and merged in fp32. Raises UserError if peft cannot merge the adapter, or if it
    is for another base.
    """
    config, notes = peft_config(files)
    tensors = files.tensors()
    with quiet():
        try:
            replicate(tuned, config)
            notes += resize(tuned, tensors)
            touched = sorted(touched_modules(tuned, config) | named_modules(tuned, tensors))
            dtypes = {path: dtype_of(tuned, path) for path in touched}
            for path in touched:
                set_module(tuned, path, own_module(tuned.get_submodule(path), zero_bias=bool(config_bias(config))))
            merged, further = load_and_merge(tuned, config, tensors, name)
        except UserError:
            raise
        except Exception as error:
            foreseen = isinstance(error, (ValueError, KeyError, RuntimeError, TypeError, AttributeError))
            log.log(logging.INFO if foreseen else logging.ERROR, "peft refused %s", name, exc_info=error)
            raise UserError(f"The adapter {name} cannot be merged: {reason_of(error)}") from error
    for path in touched:
        merged.get_submodule(path).to(dtype=dtypes[path])
    return merged.requires_grad_(False).eval(), notes + further


def reason_of(error: Exception) -> str:
    """What went wrong in peft, in one line; of shapes that differ, the first."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    mismatch = next((line for line in lines if line.startswith("size mismatch for")), None)
    if mismatch is not None:
        return f"its shapes are not this model's ({mismatch.removeprefix('size mismatch for ')[:200]})"
    if isinstance(error, KeyError):
        return f"its file lacks {lines[0]}, which its configuration promises; save it again"
    return lines[0]


def peft_config(files: AdapterFiles) -> tuple[PeftConfig, list[str]]:
    """The configuration as peft's object, and which of its settings this peft does not know.

    Raises UserError for a kind that is not known, and for initialisations whose change of the base nobody can repeat.
    """
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    start = files.config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(RANDOM_STARTS):
        raise UserError(
            f"The adapter was initialised with {start!r}, which changed the base's weights in a way that its files do "
            "not tell: save it with path_initial_model_for_weight_conversion, which makes it plain LoRA."
        )
    kinds = {str(getattr(kind, "value", kind)): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if files.kind not in kinds:
        raise UserError(f"The adapter is of the kind {files.kind!r}, which peft {peft.__version__} does not know.")
    known = {each.name for each in dataclasses.fields(kinds[files.kind])}
    unknown = sorted(
        name for name, value in files.config.items() if name not in known and name != "peft_type" and value
    )
    settings = {name: value for name, value in files.config.items() if name in known and name != "peft_type"}
    config = kinds[files.kind](**settings | {"inference_mode": True})
    notes = []
    if unknown:
        notes.append(f"peft {peft.__version__} does not know its settings {', '.join(unknown)}: they are left out.")
    # A tensor that the file lacks must leave its layer as it was, and not be a random one.
    if hasattr(config, "init_lora_weights") and start in ("gaussian", "eva", "orthogonal", False):
        config.init_lora_weights = True
    if getattr(config, "init_weights", None) is False:
        config.init_weights = True  # type: ignore[attr-defined]  # of some kinds of adapter
    return config, notes


def config_bias(config: PeftConfig) -> bool:
    """Whether the adapter's layers add a bias of their own, which needs one in the base to be merged into."""
    return bool(getattr(config, "lora_bias", False))


def replicate(tuned: PreTrainedModel, config: PeftConfig) -> None:
    """Repeat layers as the adapter's layer_replication says; peft itself does not merge once it has done that.

    peft leaves the configuration's list of what kind each layer is as it was, by which the model then fails.
    """
    layers = getattr(config, "layer_replication", None)
    if layers:
        from peft.tuners.tuners_utils import replicate_layers

        replicate_layers(tuned, layers)
        kinds = getattr(tuned.config, "layer_types", None)
        if kinds:
            tuned.config.layer_types = [kinds[index] for begin, end in layers for index in range(begin, end)]
        config.layer_replication = None  # type: ignore[attr-defined]


def resize(tuned: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> list[str]:
    """Give ``tuned`` as many tokens as the adapter's vocabulary layers have; what is to be said of that.

    New rows are the mean of the old ones until the adapter's own replace them.
    """
    import torch

    embeddings: Any = tuned.get_input_embeddings()
    old: int = embeddings.weight.shape[0]
    rows: dict[str, int] = {}
    for layer in (tuned.get_input_embeddings(), tuned.get_output_embeddings()):
        path = next((path for path, module in tuned.named_modules() if module is layer), None)
        for name, tensor in tensors.items():
            inner = name.removeprefix(PEFT_PREFIX)
            if path is None or not inner.startswith(f"{path}."):
                continue
            part = inner.removeprefix(f"{path}.")
            if part in ("weight", "base_layer.weight", "modules_to_save.weight", "lora_B.weight"):
                rows[path] = tensor.shape[0]
            elif part == "lora_embedding_A":
                rows[path] = tensor.shape[1]
    sizes = set(rows.values())
    if len(sizes) > 1:
        raise UserError(f"The adapter's vocabulary layers differ in size ({', '.join(map(str, sorted(sizes)))}).")
    new = sizes.pop() if sizes else old
    if new == old:
        return []
    means = {}
    with torch.no_grad():
        layers = {"input": tuned.get_input_embeddings(), "output": tuned.get_output_embeddings()}
        for side, layer in layers.items():
            means[side] = layer.weight.float().mean(dim=0) if layer is not None and not is_quantised(layer) else None
        own_parameters(list(layers.values()))
        tuned.resize_token_embeddings(new, mean_resizing=False)
        layers = {"input": tuned.get_input_embeddings(), "output": tuned.get_output_embeddings()}
        for side, layer in layers.items():
            mean = means[side]
            if mean is not None and new > old:
                layer.weight[old:] = mean.to(layer.weight.dtype)
    return [f"Its vocabulary has {new:,} entries, the base's {old:,}."]


def own_parameters(layers: Iterable[nn.Module | None]) -> None:
    """Give layers parameters of their own over the same numbers: transformers puts the larger matrix into the old
    parameter, which is the base's too. Layers that share one go on sharing."""
    from torch import nn

    own: dict[int, nn.Parameter] = {}
    for layer in layers:
        for name, old in [] if layer is None else list(layer.named_parameters(recurse=False)):
            setattr(layer, name, own.setdefault(id(old), nn.Parameter(old.detach(), requires_grad=False)))


def touched_modules(tuned: PreTrainedModel, config: PeftConfig) -> set[str]:
    """Dotted names of the modules that peft would put the adapter into, found on a copy without numbers.

    Where peft needs the numbers, every module that has parameters counts as touched: then all are copied.
    """
    import torch
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper
    from torch import nn

    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta", dtype=floating(parameter)), False)
        for parameter in tuned.parameters()
    }
    memo |= {id(part): part for part in (*tuned.buffers(), *states_of(tuned))}
    ghost = copy.deepcopy(tuned, memo)
    for path, module in list(ghost.named_modules()):
        if is_quantised(tuned.get_submodule(path)):
            shape = module.in_features, module.out_features
            set_module(ghost, path, nn.Linear(*shape, bias=module.bias is not None, device="meta"))
    ghost_config = copy.deepcopy(config)
    if isinstance(getattr(ghost_config, "init_lora_weights", None), str):
        ghost_config.init_lora_weights = True  # type: ignore[attr-defined]
    try:
        get_peft_model(ghost, ghost_config, low_cpu_mem_usage=True)
    except (ValueError, KeyError) as error:
        raise UserError(f"The adapter fits no layer of this model: {reason_of(error)}") from error
    except Exception:
        log.exception("The layers of this adapter cannot be told beforehand, so all are copied")
        return {
            path for path, module in tuned.named_modules() if path and next(module.parameters(False), None) is not None
        }
    found = {
        path for path, module in ghost.named_modules() if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))
    }
    plain = {path.replace(".base_layer", "").replace(".token_adapter", "") for path in found}
    known = {path for path, _ in tuned.named_modules()}
    return plain & known - {""}


def floating(parameter: torch.Tensor) -> torch.dtype:
    """The dtype of a parameter, fp32 in place of those that hold codes."""
    import torch

    return parameter.dtype if parameter.is_floating_point() else torch.float32


def states_of(model: nn.Module) -> list[Any]:
    """What bitsandbytes keeps beside its weights."""
    return [module.state for module in model.modules() if hasattr(module, "state")]


def named_modules(tuned: PreTrainedModel, tensors: Iterable[str]) -> set[str]:
    """Dotted names of the modules whose own parameters the adapter's file replaces: biases, norms, embeddings."""
    own = {name for name, _ in tuned.named_parameters(remove_duplicate=False)}
    names = (name.removeprefix(PEFT_PREFIX).replace(".base_layer", "") for name in tensors)
    return {name.rpartition(".")[0] for name in names if name in own} - {""}


def dtype_of(model: PreTrainedModel, path: str) -> torch.dtype:
    """In which dtype a module's merged weights are held: its own, or that of the activations if it holds codes."""
    module = model.get_submodule(path)
    first = next(module.parameters())
    return compute_dtype(model) if is_quantised(module) or not first.is_floating_point() else first.dtype


def compute_dtype(model: PreTrainedModel) -> torch.dtype:
    """The dtype of the activations: that of the norms, which are never quantised, else of the first float weights."""
    import torch

    floats = [(name, each.dtype) for name, each in model.named_parameters() if each.is_floating_point()]
    norms = [dtype for name, dtype in floats if "norm" in name or ".ln" in name]
    return next(iter([*norms, *(dtype for _, dtype in floats)]), torch.float32)


def set_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put ``module`` where ``path`` says."""
    model.set_submodule(path, module)


def load_and_merge(
    tuned: PreTrainedModel, config: PeftConfig, tensors: dict[str, torch.Tensor], name: str
) -> tuple[PreTrainedModel, list[str]]:
    """Have peft inject, load and merge an adapter; ``tuned`` is changed. Also: what the file lacks, in words."""
    from peft import get_peft_model, set_peft_model_state_dict

    model: Any = get_peft_model(tuned, config, adapter_name=ADAPTER)
    result: Any = set_peft_model_state_dict(model, tensors, adapter_name=ADAPTER)
    unexpected = [key for key in result.unexpected_keys if not key.endswith(HARMLESS)]
    if unexpected:
        first = unexpected[0].removeprefix(PEFT_PREFIX)
        raise UserError(
            f"The adapter {name} is for another base: {len(unexpected)} of its {len(tensors)} tensors fit nothing in "
            f"this one, such as {first}."
        )
    notes = missing_notes(model, config, result.missing_keys, tensors)
    merged: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    if hasattr(merged, "peft_config"):
        del merged.peft_config
    return merged, notes
