"""The model pair: base and LoRA-merged model in memory together, one tensor wherever the adapter touches nothing."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from eval_prompts.models.adapter_files import AdapterFiles
from eval_prompts.models.adapter_names import aligned, half_missing, meant_by
from eval_prompts.models.adapter_tokenizer import tokenizer_of
from eval_prompts.models.adapters import AdapterCard, base_notes, check_shapes, open_adapter
from eval_prompts.models.mmap_pages import release_pages
from eval_prompts.models.owned import share_equal
from tuning.errors import UserError
from tuning.upstream.bitsandbytes_parts import keep_weight_layout

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuning.models.device import Device
    from tuning.models.weights import Quantization, Weights

log = logging.getLogger(__name__)

Side = Literal["base", "tuned"]
SIDES: tuple[Side, Side] = ("base", "tuned")

CALLED_TOKENS = 4
PROMPT_TOKENS = 128
"""What even a model with few positions can read."""
NO_CHANGE = "It changes nothing: every weight of the merged model is the base's, so both sides answer the same."
FUSED_GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


@dataclass(frozen=True)
class Pair:
    """Both models, ready to answer. ``tuned`` is None where the base is alone.

    Every parameter of ``tuned`` that the adapter does not replace, or in which a whole model equals the base, is the
    very tensor of ``base``. ``adapter`` describes what answers as tuned, an adapter or a whole model. ``base_is_base``
    says that the base side's logits after loading the adapter equal those of the untouched model before.

    With ``against``, two adapters are compared: the side named base is answered by ``rival``, the base merged with
    that adapter, and ``base_is_base`` is None. ``base`` itself stays untouched, to merge the next adapter into.
    """

    base: PreTrainedModel
    tuned: PreTrainedModel | None
    tokenizer: PreTrainedTokenizerBase
    device: Device
    adapter: AdapterCard | None
    base_is_base: bool | None
    against: AdapterCard | None = None
    rival: PreTrainedModel | None = None
    side_tokenizers: Mapping[Side, PreTrainedTokenizerBase] = field(default_factory=dict)
    """Those that adapters bring along, by side."""

    @property
    def tokenizers(self) -> dict[Side, PreTrainedTokenizerBase]:
        """What each side is asked with: its adapter's own tokenizer, else the base's."""
        return {side: self.side_tokenizers.get(side, self.tokenizer) for side in SIDES}

    @property
    def alone(self) -> Pair:
        """The untouched base without any adapter."""
        return Pair(self.base, None, self.tokenizer, self.device, None, base_is_base=True)

    def model(self, side: Side) -> PreTrainedModel:
        """The model that answers for one side; raises UserError for the tuned side of a pair without an adapter."""
        if side == "base":
            return self.base if self.rival is None else self.rival
        if self.tuned is None:
            raise UserError("No adapter is loaded, so there is no tuned side: choose an adapter or ask the base alone.")
        return self.tuned

    @property
    def memory_bytes(self) -> int:
        """Bytes of all weights in memory, shared tensors counted once."""
        models = [model for model in (self.base, self.tuned, self.rival) if model is not None]
        return sum({place: size for model in models for place, size in storages_of(model).items()}.values())


def storages_of(model: PreTrainedModel) -> dict[int, int]:
    """Where each piece of a model's numbers begins in memory, and its size in bytes."""
    tensors = (*model.parameters(), *model.buffers())
    return {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}


def load_pair(weights: Weights, device: Device, adapter: str | None, quantize: Quantization | None = None) -> Pair:
    """Load the base model, and the adapter (folder or Hub id) merged into a copy that shares what it can.

    Raises UserError if the weights or the adapter cannot be used; the message names the reason.
    """
    import torch

    from tuning.models.weights import load_model, load_tokenizer

    tokenizer = load_tokenizer(weights)
    base = load_model(weights, device, quantize)
    keep_weight_layout(base)
    if device.name == "cuda":  # cuDNN plans attention anew for every length (pytorch/pytorch#155958)
        torch.backends.cuda.enable_cudnn_sdp(False)
    if device.name != "cpu":
        fuse_projections(base)
    alone = Pair(base, None, tokenizer, device, None, base_is_base=True)
    return alone if adapter is None else with_adapter(alone, weights, adapter)


def with_adapter(pair: Pair, weights: Weights, adapter: str, against: str | None = None) -> Pair:
    """The same base with another adapter; ``pair`` stays as it is, so a refusal leaves it in use.

    With ``against`` the side named base is the base merged with that adapter. Raises UserError for an adapter that is
    missing, broken, a pickle, or made for another base.
    """
    before = fingerprint_logits(pair.base, pair.tokenizer)
    release_pages(pair.base.parameters())
    tuned = merged_side(pair, weights, adapter)
    rival = None if against is None else merged_side(pair, weights, against)
    same = before.equal(fingerprint_logits(pair.base, pair.tokenizer))
    release_pages(pair.base.parameters())
    if not same:
        log.error("The base model changed while %s was loaded", tuned.card.name)
    tokenizers: dict[Side, PreTrainedTokenizerBase] = {"tuned": tuned.tokenizer}
    if rival is not None:
        tokenizers["base"] = rival.tokenizer
    return replace(
        pair.alone,
        tuned=tuned.model,
        adapter=tuned.card,
        base_is_base=same if rival is None else None,
        against=None if rival is None else rival.card,
        rival=None if rival is None else rival.model,
        side_tokenizers=tokenizers,
    )


@dataclass(frozen=True)
class MergedSide:
    """What an adapter makes of a base: the merged model, what is known of the adapter, the tokenizer to ask with."""

    card: AdapterCard
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def merged_side(pair: Pair, weights: Weights, adapter: str) -> MergedSide:
    """An adapter merged into the base of ``pair``, which stays as it is. Raises UserError if it cannot be used."""
    base = pair.base
    card, files = open_adapter(adapter)
    files = aligned(files, [name for name, _ in base.named_modules()])
    check_shapes(card, files, base, weights)
    model, notes = merge(base, files, card.name)
    if not model_differs(model, base):
        notes.append(NO_CHANGE)
    embeddings: Any = model.get_input_embeddings()
    entries: int = embeddings.weight.shape[0]
    tokenizer, further = tokenizer_of(card.path, pair.tokenizer, entries)
    read = files.notes[len(card.notes) :]
    card = card.noting(*read, *base_notes(card, weights), *notes, *further)
    for note in card.notes:
        log.info("adapter %s: %s", card.name, note)
    return MergedSide(card, model, tokenizer)


def merge(base: PreTrainedModel, files: AdapterFiles, name: str) -> tuple[PreTrainedModel, list[str]]:
    """A model equal to peft's merge of an adapter into ``base``, which is not touched; and what is to be said of it.

    Plain LoRA over fp32 keeps its two factors and shares the weights too, except for layers that the model does not
    call: Mamba multiplies with the weight of one itself. What other adapters touch gets weights of its own, merged by
    peft in fp32. All else is shared with ``base``. A head or embedding whose weight the base uses twice
    changes where the adapter is alone, as in training: peft's ``merge_and_unload`` would write into both. Raises
    UserError if the adapter cannot be merged.
    """
    from eval_prompts.models.lora_linear import AdaptedLinear, can_share, plain_factors

    tuned = shared_copy(base)
    factors = plain_factors(files) if base.device.type == "cpu" else None
    modules = dict(base.named_modules())
    if factors is None or not all(can_share(modules.get(path), change) for path, change in factors.items()):
        from eval_prompts.models.peft_merge import merge_with_peft

        merged, notes = merge_with_peft(tuned, files, name)
        share_equal(merged, base)
        if base.device.type != "cpu":
            import torch

            own = [path for path, module in merged.named_modules() if differs(module, modules.get(path))]
            with torch.no_grad():
                fuse_projections(merged, only=own)
        return merged, notes
    called = called_modules(base)
    for path, change in factors.items():
        linear: Any = base.get_submodule(path)
        adapted: Any = AdaptedLinear(linear, change)
        if path not in called:
            adapted = adapted.merged()
        tuned.set_submodule(path, adapted.eval().requires_grad_(False))
    share_equal(tuned, base)
    head = next((path for path, module in modules.items() if module is base.get_output_embeddings()), None)
    linears = [path for path, module in modules.items() if hasattr(module, "in_features")]
    lacking = set(filter(meant_by(files.config, head), linears)) - set(factors)
    return tuned, [half_missing(len(lacking), len(lacking | set(factors)))] if lacking else []


def shared_copy(base: PreTrainedModel) -> PreTrainedModel:
    """A model of its own that holds the very parameters and buffers of ``base``."""
    states = (module.state for module in base.modules() if hasattr(module, "state"))
    shared = {id(part): part for part in (*base.parameters(), *base.buffers(), *states)}
    return copy.deepcopy(base, shared)


def differs(module: nn.Module, other: nn.Module | None) -> bool:
    """Whether a module has parameters of its own that are not those of ``other``."""
    mine = dict(module.named_parameters(recurse=False))
    theirs = {} if other is None else dict(other.named_parameters(recurse=False))
    return any(parameter is not theirs.get(name) for name, parameter in mine.items())


def model_differs(model: PreTrainedModel, base: PreTrainedModel) -> bool:
    """Whether anything in ``model`` is not as it is in ``base``: a parameter, a layer, or a low-rank change."""
    from eval_prompts.models.lora_linear import AdaptedLinear

    modules = dict(base.named_modules())
    for path, module in model.named_modules():
        if isinstance(module, AdaptedLinear):
            if bool(module.up.any()) and bool(module.down.any()):
                return True
        elif path not in modules or differs(module, modules[path]):
            return True
    return False


def fuse_projections(model: PreTrainedModel, only: list[str] | None = None) -> None:
    """Lay q/k/v, and gate/up, of each layer side by side in memory, each weight a view of its rows.

    A GPU then multiplies once per group with no second copy of the weights. A group is left alone unless all
    its members are plain linear layers without bias that are all in, or all out of, ``only`` (dotted names).
    """
    import torch
    from torch import nn

    for parent_name, parent in model.named_modules():
        for group in FUSED_GROUPS:
            found = [getattr(parent, name, None) for name in group]
            members = [member for member in found if is_plain(member)]
            if len(members) < len(group):
                continue
            if only is not None and not all(f"{parent_name}.{name}" in only for name in group):
                continue
            fused = torch.cat([member.weight.detach() for member in members])
            rows = fused.split([member.out_features for member in members])
            for member, view in zip(members, rows, strict=True):
                member.weight = nn.Parameter(view, requires_grad=False)


def is_plain(module: object) -> TypeGuard[nn.Linear]:
    """Whether a module is a linear layer as torch makes it, without a bias."""
    from torch import nn

    return type(module) is nn.Linear and module.bias is None


def called_modules(model: PreTrainedModel) -> set[str]:
    """The dotted names of the modules that a model calls for a short text; it may read the weights of others itself,
    or choose among experts."""
    import torch

    called: set[str] = set()
    handles = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: called.add(name))
        for name, module in model.named_modules()
    ]
    try:
        with torch.inference_mode():
            model(input_ids=torch.arange(CALLED_TOKENS, device=model.device)[None])
    finally:
        for handle in handles:
            handle.remove()
    return called


def fingerprint_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Logits at the last position of a fixed prompt, [vocabulary], to see whether a model has changed at all."""
    import torch

    from tuning.data.chat import encode_prompt

    with torch.inference_mode():
        ids = torch.tensor([encode_prompt(tokenizer, "Reverse a string.")[:PROMPT_TOKENS]], device=model.device)
        logits: torch.Tensor = model(input_ids=ids, logits_to_keep=1).logits
        return logits[0, -1].clone()
