"""The model pair: base and LoRA-merged model in memory together, one tensor wherever the adapter touches nothing."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eval_prompts.models.adapters import AdapterCard, check_fits, read_card, touched_modules
from eval_prompts.models.mmap_pages import release_pages
from tuning.errors import UserError
from tuning.files import first_line
from tuning.quiet import quiet

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuning.models.device import Device
    from tuning.models.weights import Weights

log = logging.getLogger(__name__)

Side = Literal["base", "tuned"]
SIDES: tuple[Side, Side] = ("base", "tuned")

FUSED_GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


@dataclass(frozen=True)
class Pair:
    """Both models, ready to answer. ``tuned`` is None without an adapter.

    Every parameter of ``tuned`` that the adapter does not replace is the very tensor of ``base``. ``base_is_base``
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
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for model in models
            for tensor in (*model.parameters(), *model.buffers())
        }
        return sum(storages.values())


def load_pair(weights: Weights, device: Device, adapter: str | None, quantize: str | None = None) -> Pair:
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
    card, tuned = merged_side(pair.base, weights, adapter)
    rival_card, rival = (None, None) if against is None else merged_side(pair.base, weights, against)
    same = before.equal(fingerprint_logits(pair.base, pair.tokenizer))
    release_pages(pair.base.parameters())
    if not same:
        log.error("The base model changed while %s was loaded", card.name)
    checked = same if rival is None else None
    return replace(pair.alone, tuned=tuned, adapter=card, base_is_base=checked, against=rival_card, rival=rival)


def merged_side(base: PreTrainedModel, weights: Weights, adapter: str) -> tuple[AdapterCard, PreTrainedModel]:
    """What an adapter says of itself, and ``base`` merged with it. Raises UserError if it cannot be used."""
    card = read_card(adapter)
    modules = touched_modules(card.path)
    check_fits(card, modules, base, weights)
    return card, merge(base, card.path, modules)


def merge(base: PreTrainedModel, adapter: Path, modules: list[str]) -> PreTrainedModel:
    """A model equal to peft's ``merge_and_unload`` of ``adapter`` into ``base``; ``base`` is not touched.

    ``modules`` are the dotted names of the linear layers that the adapter changes. Plain LoRA over fp32 keeps its two
    factors and shares the weights too; other layers get weights of their own, merged by peft. All else is shared with
    ``base``.
    """
    from eval_prompts.models.lora_linear import AdaptedLinear, can_share, plain_factors

    states = (module.state for module in base.modules() if hasattr(module, "state"))
    shared = {id(part): part for part in (*base.parameters(), *base.buffers(), *states)}
    tuned = copy.deepcopy(base, shared)
    factors = plain_factors(adapter, modules) if base.device.type == "cpu" else None
    if factors is None or not all(can_share(base.get_submodule(name)) for name in modules):
        return merge_with_peft(tuned, base, adapter, modules)
    for name, change in factors.items():
        adapted = AdaptedLinear(base.get_submodule(name), change)
        tuned.set_submodule(name, adapted.eval().requires_grad_(False))
    return tuned


def merge_with_peft(tuned: PreTrainedModel, base: PreTrainedModel, adapter: Path, modules: list[str]) -> nn.Module:
    """``tuned``, a copy of ``base`` that shares its weights, with the adapter merged into weights of its own.

    They are dequantised first where the base is 4-bit or 8-bit, and merged in fp32.
    """
    import torch

    for name in modules:
        tuned.set_submodule(name, own_linear(base.get_submodule(name)))
    try:
        with quiet():
            from peft import PeftModel

            merged = PeftModel.from_pretrained(tuned, str(adapter)).merge_and_unload(safe_merge=True)
    except Exception as error:
        raise UserError(f"The adapter {adapter.name} cannot be merged: {first_line(error)}") from error
    for name in modules:
        merged.get_submodule(name).to(dtype=compute_dtype(base))
    merged.requires_grad_(False).eval()
    if base.device.type != "cpu":
        with torch.no_grad():
            fuse_projections(merged, only=modules)
    return merged


def own_linear(module: nn.Module) -> nn.Linear:
    """A plain fp32 linear layer with a copy of ``module``'s weights, whatever precision they are held in."""
    import torch
    from torch import nn

    weight = dequantised(module)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.to(torch.float32, copy=True), requires_grad=False)
    if module.bias is not None:
        linear.bias = nn.Parameter(module.bias.detach().to(torch.float32, copy=True), requires_grad=False)
    return linear


def dequantised(module: nn.Module) -> torch.Tensor:
    """The weight of a linear layer, [out, in], decoded if bitsandbytes holds it in 4 or 8 bits. Changes nothing."""
    weight = module.weight
    if getattr(weight, "quant_state", None) is not None:
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state)
    row_scales = int8_row_scales(module)
    if row_scales is not None:
        from bitsandbytes.functional import int8_vectorwise_dequant

        return int8_vectorwise_dequant(weight.data, row_scales)
    return weight.detach()


def int8_row_scales(module: nn.Module) -> torch.Tensor | None:
    """The absolute maximum of each row of an 8-bit layer, [out]: bitsandbytes moves it at the first product."""
    state = getattr(module, "state", None)
    kept = getattr(module.weight, "SCB", None)
    return kept if kept is not None else getattr(state, "SCB", None)


def keep_weight_layout(model: PreTrainedModel) -> None:
    """Stop bitsandbytes from repacking 4-bit weights in place at the first answer on some CPUs.

    The repacked weights can no longer be decoded for a merge, and their products are rounded to bf16.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def compute_dtype(model: PreTrainedModel) -> torch.dtype:
    """The dtype of the activations (the norms are never quantised)."""
    return next(parameter.dtype for name, parameter in model.named_parameters() if "norm" in name)


def fuse_projections(model: PreTrainedModel, only: list[str] | None = None) -> None:
    """Lay q/k/v, and gate/up, of each layer side by side in memory, each weight a view of its rows.

    A GPU then multiplies once per group with no second copy of the weights. A group is left alone unless all
    its members are plain linear layers without bias that are all in, or all out of, ``only`` (dotted names).
    """
    import torch
    from torch import nn

    for parent_name, parent in model.named_modules():
        for group in FUSED_GROUPS:
            members = [getattr(parent, name, None) for name in group]
            if not all(type(member) is nn.Linear and member.bias is None for member in members):
                continue
            if only is not None and not all(f"{parent_name}.{name}" in only for name in group):
                continue
            fused = torch.cat([member.weight.detach() for member in members])
            rows = fused.split([member.out_features for member in members])
            for member, view in zip(members, rows, strict=True):
                member.weight = nn.Parameter(view, requires_grad=False)


def fingerprint_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Logits at the last position of a fixed prompt, [vocabulary], to see whether a model has changed at all."""
    import torch

    from tuning.data.chat import encode_prompt

    with torch.inference_mode():
        ids = torch.tensor([encode_prompt(tokenizer, "Reverse a string.")], device=model.device)
        return model(input_ids=ids, logits_to_keep=1).logits[0, -1].clone()
