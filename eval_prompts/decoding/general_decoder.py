"""Decoding for any causal language model that transformers can load, through its own forward pass.

All rows of a side take a step together in one padded batch (:mod:`.padded_batch`). A family whose cache cannot be
padded (recurrent states, for one) is computed row by row, each row with a cache of its own and its prompt in one piece,
as ``generate`` does. Which of the two is right for a model is tried out when it is loaded (:mod:`.choice`).
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from eval_prompts.decoding.layers.matmul import has_onednn
from eval_prompts.decoding.layers.side_linear import change_of, packed_root
from eval_prompts.decoding.padded_batch import PaddedBatch, can_pad
from eval_prompts.models.lora_linear import AdaptedLinear
from eval_prompts.models.mmap_pages import release_pages
from eval_prompts.models.pair import SIDES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.rows import Row

CACHE_NAMES = ("cache", "past_key_values", "cache_params", "state")
"""What transformers' models call their cache, newer names first."""
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "context_length")
UNKNOWN_CONTEXT = 2048
PROBE_TOKENS = 3


class GeneralDecoder:
    """Decodes through the models' own forward passes (:class:`eval_prompts.decoding.backend.Backend`)."""

    scales = False

    def __init__(self, pair: Pair, *, batches: bool = True, unmasked: bool = False) -> None:
        """``batches``: rows of a side take their steps together where the model's cache allows it. ``unmasked``: row
        by row, without a mask, each in a cache that is made beforehand, as ``generate`` feeds Mamba."""
        sides = SIDES[:1] if pair.tuned is None else SIDES
        batches = batches and not unmasked
        self._sides: dict[Side, SideModel] = {
            side: SideModel(pair.base, pair.model(side), unmasked=unmasked) for side in sides
        }
        self._pair = pair
        with torch.inference_mode():
            self.batches = batches and all(side.can_batch() for side in self._sides.values())
        self.context = min(context_of(pair.model(side).config) for side in sides)
        self.precision = held_in(pair.base) or pair.device.label.split()[-1]
        packed = {id(product): product.nbytes for side in self._sides.values() for product in side.products}
        self.weight_bytes = sum(packed.values()) or pair.memory_bytes
        self.notes: list[str] = []
        self._vocabulary = 0
        self._caches: dict[Row, Any] = {}
        self._batches = {side: PaddedBatch() for side in sides}

    def enter(self, row: Row) -> None:
        """Start ``row`` with an empty cache."""
        self._pair.model(row.side)
        self._caches[row] = None

    def leave(self, row: Row) -> None:
        """Forget the cache of ``row``."""
        if not self._batches[row.side].drop(row):
            self._caches.pop(row, None)

    def advance(self, rows: list[Row], prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
        """A token for every row under way, and as much of the new prompts as is allowed.

        Row by row a prompt is fed in one piece: a recurrent state takes no second one.
        """
        ready: list[Row] = []
        logits: list[torch.Tensor] = []
        for side, batch in self._batches.items():
            if batch.rows:
                logits.append(self._sides[side].step(batch))
                ready += batch.rows
        allowance = prefill_tokens
        for row in rows:
            if row in self._caches and allowance > 0:
                model = self._sides[row.side]
                if model.refeeds(row):
                    self._caches[row], row.fed = None, 0
                count = min(len(row.ids) - row.fed, allowance) if self.batches else len(row.ids) - row.fed
                allowance -= count if self.batches else 0
                result, self._caches[row] = model.feed(row, count, self._caches[row])
                if row.fed == len(row.ids):
                    ready.append(row)
                    logits.append(result)
                    if self.batches:
                        self._batches[row.side].join(row, self._caches.pop(row))
        return ready, self._joined(logits)

    def _joined(self, logits: list[torch.Tensor]) -> torch.Tensor:
        """All rows' logits in fp32; tokens that one side's vocabulary lacks are minus infinity there."""
        self._vocabulary = max([self._vocabulary, *(part.shape[-1] for part in logits)])
        padded = [F.pad(part.float(), (0, self._vocabulary - part.shape[-1]), value=-torch.inf) for part in logits]
        return torch.cat(padded) if padded else torch.empty(0, self._vocabulary)


class SideModel:
    """One side's model, fed with the arguments that its family's forward pass knows."""

    def __init__(self, root: PreTrainedModel, model: PreTrainedModel, *, unmasked: bool = False) -> None:
        """``root`` is the untouched model: its products are shared by all sides. ``unmasked`` is as for
        :class:`GeneralDecoder`."""
        self._unmasked = unmasked
        self.products: list[Any] = []
        self._model = self._with_fast_products(root, model)
        known = inspect.signature(model.forward).parameters
        self._cache_name = next((name for name in CACHE_NAMES if name in known), "past_key_values")
        names = ("position_ids", "logits_to_keep") if unmasked else ("attention_mask", "position_ids", "logits_to_keep")
        self._known = {name for name in names if name in known}
        self._switch = longrope_switch(model)

    def can_batch(self) -> bool:
        """True if the model's cache can be padded, and no row changes how another is computed."""
        ids = torch.zeros(1, PROBE_TOKENS, dtype=torch.long, device=self._model.device)
        _, cache = self._forward({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, None)
        return self._switch is None and can_pad(cache)

    def refeeds(self, row: Row) -> bool:
        """True where longrope changes its frequencies: ``generate`` then computes the whole text again."""
        return self._switch is not None and 0 < row.fed <= self._switch < len(row.ids)

    def step(self, batch: PaddedBatch) -> torch.Tensor:
        """Feed every row of ``batch`` one token; logits [rows, vocabulary]."""
        logits, cache = self._forward(batch.inputs(self._model.device), batch.cache)
        batch.fed_one(cache)
        return logits

    def feed(self, row: Row, count: int, cache: Any) -> tuple[torch.Tensor, Any]:
        """Feed ``count`` tokens of one row; its logits [1, vocabulary] after them, and its cache."""
        end, device = row.fed + count, self._model.device
        inputs = {
            "input_ids": torch.tensor([row.ids[row.fed : end]], device=device),
            "attention_mask": torch.ones(1, end, dtype=torch.long, device=device),
            "position_ids": torch.arange(row.fed, end, device=device)[None],
        }
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

    def _with_fast_products(self, root: PreTrainedModel, model: PreTrainedModel) -> PreTrainedModel:
        """A copy of ``model`` that shares its weights and whose fp32 linear layers multiply as fast as the CPU can."""
        names = [name for name, module in model.named_modules() if can_speed_up(module)]
        if not names:
            return model
        fast = copy.deepcopy(model, {id(part): part for part in (*model.parameters(), *model.buffers())})
        for name in names:
            own = linear_at(model, name)
            ours = linear_at(root, name) if has_submodule(root, name) else own
            layer = FastLinear(ours, own)
            fast.set_submodule(name, layer)
            self.products.append(layer.product)
            release_pages([ours.weight])
        return fast


class FastLinear(nn.Linear):
    """A linear layer of one side whose weights lie in oneDNN's layout; the same layer of all sides has one product."""

    def __init__(self, root: nn.Linear, layer: nn.Linear) -> None:
        """``layer`` is the side's own, ``root`` the untouched model's."""
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        shared = layer.weight.data_ptr() == root.weight.data_ptr()
        self.product = packed_root([root if shared else layer], "fp32")
        self._change = change_of([root], [layer]) if shared else None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Outputs [..., out] for inputs [..., in]."""
        rows = input.reshape(-1, self.in_features)
        outputs = self.product(rows)
        if self._change is not None:
            outputs.addmm_(rows @ self._change.down, self._change.up)
        if self.bias is not None:
            outputs += self.bias
        return outputs.view(*input.shape[:-1], self.out_features)


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


def held_in(model: PreTrainedModel) -> str:
    """In how many bits and by which method a quantised model holds its weights, in words; '' for all others."""
    settings = getattr(model.config, "quantization_config", None)
    if settings is None or not getattr(model, "is_quantized", False):
        return ""
    told = settings if isinstance(settings, dict) else settings.to_dict()
    method = told.get("quant_method")
    words = str(getattr(method, "value", method) or "quantised")
    bits = 4 if told.get("load_in_4bit") else 8 if told.get("load_in_8bit") else told.get("bits")
    return f"{bits}-bit {words}" if bits else words


def context_of(config: Any) -> int:
    """How many tokens a text may have, by the configuration of the model's text part."""
    text = config.get_text_config()
    lengths = (getattr(text, name, None) for name in CONTEXT_NAMES)
    return next((int(length) for length in lengths if isinstance(length, int) and length > 0), UNKNOWN_CONTEXT)


def longrope_switch(model: PreTrainedModel) -> int | None:
    """The length beyond which a model turns its texts by other frequencies; None if it does not."""
    parameters = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if parameters.get("rope_type") != "longrope":
        return None
    return int(parameters["original_max_position_embeddings"])
