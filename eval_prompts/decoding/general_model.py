"""A model of transformers as it is fed token by token, for one side or for both in the same pass."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from eval_prompts.decoding.layers.matmul import has_onednn
from eval_prompts.decoding.layers.side_linear import Run, SideProduct, runs_of
from eval_prompts.decoding.padded_batch import PaddedBatch, can_pad
from eval_prompts.models.lora_linear import AdaptedLinear
from eval_prompts.models.mmap_pages import release_pages
from eval_prompts.models.pair import Pair, differs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from eval_prompts.rows import Row

CACHE_NAMES = ("cache", "past_key_values", "cache_params", "state")
"""What transformers' models call their cache, newer names first."""
PROBE_TOKENS = 3


@dataclass
class FedRows:
    """Of the rows that are being fed, those of the base side come first; ``counts`` are the rows of either side."""

    counts: tuple[int, int] = (1, 0)

    def runs(self, x: torch.Tensor) -> list[Run]:
        """Which of the rows of ``x``, flattened to [rows, in], are whose. Raises ValueError where that cannot be told:
        experts are given tokens in an order of their own."""
        tokens = x.numel() // x.shape[-1]
        if all(self.counts):
            if x.dim() != 3 or x.shape[0] != sum(self.counts):
                raise ValueError(f"inputs {list(x.shape)} are not those of {sum(self.counts)} rows")
            return runs_of([(self.counts[0] * x.shape[1], self.counts[1] * x.shape[1])])
        return runs_of([(tokens, 0) if self.counts[0] else (0, tokens)])


class SideLinear(nn.Linear):
    """A linear layer of one side, or of both; weights that sides share lie in memory once, in oneDNN's layout."""

    def __init__(self, root: nn.Linear, sides: Sequence[nn.Linear], rows: FedRows) -> None:
        """``root`` is the untouched model's layer, ``sides`` those of base and tuned, or the only one."""
        super().__init__(root.in_features, root.out_features, bias=False, device="meta")
        self.weight, self.bias = sides[0].weight, sides[0].bias
        tuned = [sides[1]] if len(sides) > 1 else None
        self.product = SideProduct([root], [sides[0]], tuned, "fp32")
        self.used = False
        self._rows = rows

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Outputs [..., out] for inputs [..., in]. Raises ValueError where it cannot tell which row is whose."""
        self.used = True
        flat = input.reshape(-1, self.in_features)
        runs = self._rows.runs(input) if self.product.tells_apart else [(0, 0, len(flat))]
        return self.product(flat, runs).view(*input.shape[:-1], -1)


class GeneralModel:
    """Models of one or both sides, fed with the arguments that their family's forward pass knows."""

    def __init__(
        self, root: PreTrainedModel, sides: Sequence[PreTrainedModel], *, batches: bool = True, unmasked: bool = False
    ) -> None:
        """``root`` is the untouched model: its products are shared by all. ``sides`` are one model, or two that
        :func:`differ_in_linears` allows. ``batches``: rows take their steps together if the cache can be padded.
        ``unmasked``: without a mask, each row in a cache that is made beforehand, as ``generate`` feeds Mamba. Raises
        ValueError for two models whose rows cannot be told apart within a pass."""
        self._unmasked = unmasked
        self._rows = FedRows()
        self._linears: list[SideLinear] = []
        self._model = self._with_fast_products(root, sides)
        known = inspect.signature(sides[0].forward).parameters
        self._cache_name = next((name for name in CACHE_NAMES if name in known), "past_key_values")
        names = ("position_ids", "logits_to_keep") if unmasked else ("attention_mask", "position_ids", "logits_to_keep")
        self._known = {name for name in names if name in known}
        self._switch = longrope_switch(sides[0])
        self.batch = PaddedBatch()
        self.batches = batches and self._takes_batches(len(sides))

    @property
    def products(self) -> dict[int, int]:
        """Bytes of the packed products, besides the models' own, each once."""
        return {place: size for linear in self._linears for place, size in linear.product.sizes.items()}

    def _takes_batches(self, sides: int) -> bool:
        """True if the model's cache can be padded, and no row changes how another is computed."""
        ids = torch.zeros(sides, PROBE_TOKENS, dtype=torch.long, device=self._model.device)
        self._rows.counts = (1, sides - 1)
        with torch.inference_mode():
            _, cache = self._forward({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, None)
        if sides > 1 and not all(linear.used for linear in self._linears if linear.product.tells_apart):
            raise ValueError("some of the layers in which the sides differ have seen no row")
        return self._switch is None and can_pad(cache)

    def refeeds(self, row: Row) -> bool:
        """True where longrope changes its frequencies: ``generate`` then computes the whole text again."""
        return self._switch is not None and 0 < row.fed <= self._switch < len(row.ids)

    def step(self) -> torch.Tensor:
        """Feed every row of the batch one token; logits [rows, vocabulary]."""
        self._rows.counts = self.batch.counts
        logits, cache = self._forward(self.batch.inputs(self._model.device), self.batch.cache)
        self.batch.fed_one(cache)
        return logits

    def feed(self, row: Row, count: int, cache: Any) -> tuple[torch.Tensor, Any]:
        """Feed ``count`` tokens of one row; its logits [1, vocabulary] after them, and its cache."""
        end, device = row.fed + count, self._model.device
        inputs = {
            "input_ids": torch.tensor([row.ids[row.fed : end]], device=device),
            "attention_mask": torch.ones(1, end, dtype=torch.long, device=device),
            "position_ids": torch.arange(row.fed, end, device=device)[None],
        }
        self._rows.counts = (1, 0) if row.side == "base" else (0, 1)
        logits, cache = self._forward(inputs, cache)
        row.fed = end
        return logits, cache

    def _forward(self, inputs: dict[str, torch.Tensor], cache: Any) -> tuple[torch.Tensor, Any]:
        """Logits [rows, vocabulary] of the last position, and the cache after it."""
        arguments: dict[str, Any] = {
            name: value for name, value in inputs.items() if name == "input_ids" or name in self._known
        }
        if "logits_to_keep" in self._known:
            arguments["logits_to_keep"] = 1
        if self._unmasked and cache is None:
            from transformers import DynamicCache

            cache = DynamicCache(config=self._model.config)
        output = self._model(**arguments, **{self._cache_name: cache}, use_cache=True)
        kept = cache if self._unmasked else getattr(output, self._cache_name)
        return output.logits[:, -1], kept

    def _with_fast_products(self, root: PreTrainedModel, sides: Sequence[PreTrainedModel]) -> PreTrainedModel:
        """A copy of the first model that shares its weights, and whose fp32 linear layers multiply as fast as the CPU
        can, each side's rows by its own weights."""
        model = sides[0]
        names = [name for name, module in model.named_modules() if can_speed_up(module)]
        if not names:
            return model
        fast = copy.deepcopy(model, {id(part): part for part in (*model.parameters(), *model.buffers())})
        for name in names:
            own = [linear_at(side, name) for side in sides]
            ours = linear_at(root, name) if has_submodule(root, name) else own[0]
            layer = SideLinear(ours, own, self._rows)
            fast.set_submodule(name, layer)
            self._linears.append(layer)
            release_pages([ours.weight])
        return fast


def differ_in_linears(pair: Pair) -> bool:
    """Whether both sides of a pair are one model but for linear layers that :class:`SideLinear` computes for both."""
    cards = (pair.adapter, pair.against)
    if pair.tuned is None or any(card is not None and card.is_model for card in cards):
        return False
    base, tuned = (dict(pair.model(side).named_modules()) for side in ("base", "tuned"))
    return base.keys() == tuned.keys() and all(
        (can_speed_up(ours) and can_speed_up(theirs) and ours.weight.shape == theirs.weight.shape)
        or (type(ours) is type(theirs) and not differs(ours, theirs) and same_buffers(ours, theirs))
        for ours, theirs in ((module, tuned[name]) for name, module in base.items())
    )


def same_buffers(ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether two modules hold the very same buffers."""
    mine, others = (dict(module.named_buffers(recurse=False)) for module in (ours, theirs))
    return mine.keys() == others.keys() and all(buffer is others[name] for name, buffer in mine.items())


def can_speed_up(module: nn.Module) -> bool:
    """True for plain linear layers whose products oneDNN can hold."""
    return isinstance(module, nn.Linear) and type(module) in (nn.Linear, AdaptedLinear) and has_onednn(module.weight)


def linear_at(model: nn.Module, name: str) -> nn.Linear:
    """The linear layer of that name. Raises TypeError if there is another kind of layer."""
    module = model.get_submodule(name)
    if not isinstance(module, nn.Linear):
        raise TypeError(f"{name} is a {type(module).__name__}, not a linear layer")
    return module


def has_submodule(model: nn.Module, name: str) -> bool:
    """True if a model has a plain linear layer of this dotted name."""
    try:
        return type(model.get_submodule(name)) is nn.Linear
    except AttributeError:
        return False


def longrope_switch(model: PreTrainedModel) -> int | None:
    """The length beyond which a model turns its texts by other frequencies; None if it does not."""
    parameters = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if parameters.get("rope_type") != "longrope":
        return None
    return int(parameters["original_max_position_embeddings"])
