"""Which decoder answers for a pair, in which precision, and what people are told of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from eval_prompts.decoding.general_decoder import GeneralDecoder
from eval_prompts.decoding.general_model import differ_in_linears
from eval_prompts.decoding.layers.families import NotUnderstood
from eval_prompts.decoding.layers.quantized_linear import can_group, processor_can_group
from eval_prompts.decoding.layers.rotary import shared_plan
from eval_prompts.decoding.load_check import ALLOWED, largest_error, reference_logits
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.decoding.sides_apart import SidesApart, built_differently, own_pair
from tuning.errors import UserError
from tuning.models.device import has_bf16

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eval_prompts.decoding.backend import Backend
    from eval_prompts.decoding.layers.matmul import Precision
    from eval_prompts.models.pair import Pair, Side

log = logging.getLogger(__name__)

OPTIONS_ROUNDED = "Options of multiple choice by likelihood are read in bf16 (--precision fp32 reads them in fp32)."

Wish = Literal["auto", "bf16", "fp32", "int8"]

GENERAL_WAYS = ((True, True, False), (False, True, False), (False, False, False), (False, False, True))
"""How the general decoder may compute, fastest first: both sides together, in batches, without a mask."""

FIDELITY_PASSED = {("llama", 576, 30): "SmolLM2-135M"}
"""Families and sizes (model type, width, layers) whose int8 answers passed ``tests.benchmarks.fidelity``: there the
log-probabilities of held-out answers, and the adapter's advantage, stay what they are in fp32."""


def make_backend(pair: Pair, precision: Wish = "auto") -> Backend:
    """The common-step decoder where it knows both models and passes the check at load, else the general one; two
    models that are built differently get one each.

    The decoder's ``notes`` say, in sentences for people, what was chosen and why where that is not the usual. Raises
    UserError if int8 is asked for where it cannot be, or if no decoder computes what the model does in one pass.
    """
    notes: list[str] = []
    try:
        shared_plan(pair)
    except NotUnderstood as reason:
        if pair.adapter is not None and pair.adapter.is_model and built_differently(pair):
            return sides_apart(pair, precision)
        if precision == "int8":
            raise UserError(f"Precision int8 needs the fast decoder, but {reason}: choose auto or fp32.") from reason
        notes.append(f"Answered by the general decoder, since {reason}.")
        return checked_general(pair, notes)
    chosen = choose_precision(pair, precision, notes)
    references = reference_logits(pair)
    backend = PairDecoder(pair, chosen)
    off = largest_error(backend, references)
    if off <= allowance(pair, backend.precision):
        backend.notes = notes
        return backend
    log.error("The common-step decoder is off by %.2g on %s", off, type(pair.base).__name__)
    if precision == "int8":
        raise UserError("Precision int8 changes this model's answers too much: choose auto or fp32.")
    notes.append("Answered by the general decoder, since the fast one does not compute what this model does.")
    del backend
    return checked_general(pair, notes)


def sides_apart(pair: Pair, precision: Wish) -> Backend:
    """A decoder for each side. Both compute in one precision, so that it is the models that differ: in int8 where it
    is asked for, or where both have passed the fidelity test. Raises UserError as :func:`make_backend` does."""
    pairs: Mapping[Side, Pair] = {"base": own_pair(pair, "base"), "tuned": own_pair(pair, "tuned")}
    same: Wish = precision
    if precision == "auto" and not all(passed_fidelity(one) for one in pairs.values()):
        same = "fp32"
    backends = {side: make_backend(one, same) for side, one in pairs.items()}
    return SidesApart(backends, {"base": "base", "tuned": pair.adapter.name if pair.adapter else "tuned"})


def passed_fidelity(pair: Pair) -> bool:
    """Whether answers of a model of this family and size are known to be in int8 what they are in fp32."""
    config = pair.base.config.get_text_config()
    sizes = (getattr(config, name, None) for name in ("model_type", "hidden_size", "num_hidden_layers"))
    return tuple(sizes) in FIDELITY_PASSED and why_not_int8(pair) is None


def choose_precision(pair: Pair, wish: Wish, notes: list[str]) -> Precision:
    """int8 where it is asked for, or where this family and size passed the fidelity test; else the weights as held.

    Raises UserError, with the reason, if int8 is asked for and cannot be.
    """
    config = pair.base.config
    reason = why_not_int8(pair)
    passed = (config.model_type, config.hidden_size, config.num_hidden_layers) in FIDELITY_PASSED
    if wish == "int8":
        if reason is not None:
            raise UserError(f"Precision int8 is not possible: {reason}. Choose auto or fp32.")
        if not passed:
            notes.append("int8 was not tested for fidelity on this family and size: answers may differ from fp32.")
    if reason is None and (wish == "int8" or (wish == "auto" and passed)):
        if has_bf16("cpu"):
            notes.append(OPTIONS_ROUNDED)
        return "int8"
    if wish == "auto" and reason is None:
        notes.append("fp32: int8 is used only for families and sizes that passed the fidelity test.")
    return "fp32"


def why_not_int8(pair: Pair) -> str | None:
    """What stands against int8 for a model that the fast decoder knows, for people; None if nothing does."""
    device = pair.base.device
    if device.type != "cpu":
        return "it is for CPUs"
    if not processor_can_group(device):
        return "this processor has neither AVX2 nor AVX-512"
    if not any(can_group(parameter) for parameter in pair.base.parameters() if parameter.dim() == 2):
        return "no matrix of this model has a size that fits (outputs in 64s, inputs in 32s, fp32)"
    return None


def checked_general(pair: Pair, notes: list[str]) -> Backend:
    """The general decoder in the first of its ways that computes what the model does in one pass.

    Raises UserError, naming the model's kind, if none does.
    """
    name = type(pair.base).__name__
    try:
        references = reference_logits(pair)
    except UserError:
        raise
    except Exception as error:
        log.error("A full pass of %s failed", name, exc_info=error)
        raise UserError(f"Models of the kind {name} cannot be asked here: their forward pass failed.") from error
    ways = GENERAL_WAYS if differ_in_linears(pair) else GENERAL_WAYS[1:]
    for together, batches, unmasked in ways:
        try:
            backend = GeneralDecoder(pair, together=together, batches=batches, unmasked=unmasked)
        except Exception as error:
            log.info("%s cannot be fed", name, exc_info=error)
            continue
        if (together and not backend.together) or (batches and not backend.batches):
            continue
        off = largest_error(backend, references, logging.INFO)  # some models take only the last of these ways
        if off <= allowance(pair, backend.precision):
            if not backend.batches:
                notes.append("Its answers are computed one by one: this family's state cannot be batched.")
            backend.notes = notes
            return backend
        log.info("%s is off by %.2g, together: %s, batches: %s, unmasked: %s", name, off, together, batches, unmasked)
    raise UserError(
        f"Models of the kind {name} cannot be asked here: step by step they do not compute what they do in one pass."
    )


def allowance(pair: Pair, precision: str) -> float:
    """How far logits may be off for this pair; weights in 4 or 8 bits round their inputs, batch by batch."""
    quantised = getattr(pair.base, "is_quantized", False)
    return ALLOWED["4bit"] if quantised else ALLOWED.get(precision, ALLOWED["int8"])
