"""Both sides in one call: a base model, and an adapter or a whole model to compare it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from eval_prompts.models.pair import Pair, load_pair, with_adapter
from eval_prompts.models.tuned_model import with_tuned_model

if TYPE_CHECKING:
    from tuning.models.device import Device
    from tuning.models.weights import Weights


def load_sides(
    weights: Weights,
    device: Device,
    adapter: str | None,
    tuned: Weights | None = None,
    *,
    against: str | None = None,
    quantize: Literal["4bit", "8bit"] | None = None,
    report: Callable[[str, float | None], None] = lambda _words, _share: None,
) -> Pair:
    """The base, and as the tuned side an adapter (folder or Hub id) on it, or another whole model; None for neither.

    ``against`` is an adapter that answers for the base. ``report`` is told what is being done. Raises UserError if
    either cannot be used.
    """
    pair = load_pair(weights, device, adapter if against is None else None, quantize)
    if adapter is not None and against is not None:
        return with_adapter(pair, weights, adapter, against)
    return pair if tuned is None else with_tuned_model(pair, tuned, report, quantize)
