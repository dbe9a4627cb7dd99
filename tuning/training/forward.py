"""From a micro-batch to its summed loss: the packed pass for the Llama family, the model's own forward for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from tuning.data.batches import common_prefix, pass_tokens
from tuning.data.chat import Example
from tuning.errors import UserError
from tuning.kernels import llama
from tuning.kernels.cuda_graphs import Recorder
from tuning.kernels.dropout import SHARED_ROW, Noise, token_keys
from tuning.kernels.loss import PLAIN, LogitShape, label_loss, token_losses
from tuning.kernels.packed import Packed, pack
from tuning.training.adapter.lora import trainable

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
QUANTISED_TOLERANCE = 1e-3
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
FACTORS = ("logit_scale", "lm_head_multiplier")
CHECK_ROWS = 2
CHECK_TOKENS = 256


class Forward(Protocol):
    """Computes the loss of a micro-batch."""

    name: str
    prefix: int
    padded: bool
    checkpointing: bool
    head: torch.Tensor

    def loss(self, examples: Sequence[Example], places: Sequence[int], key: int) -> torch.Tensor:
        """Summed -log p of the labels of ``examples``, which are the rows ``places`` of the step with that key."""
        ...

    def token_losses(self, examples: Sequence[Example], places: Sequence[int], key: int) -> torch.Tensor:
        """-log p of every label, [labels], example after example."""
        ...

    def give_up(self) -> bool:
        """Free what only makes passes faster, for good; False if there was no such thing."""
        ...


class PackedForward:
    """The fast pass of :mod:`tuning.kernels.llama`; ``prefix`` tokens are common to all rows, computed once a pass."""

    name = "packed"
    padded = False

    def __init__(self, model: PeftModel, noise: Noise, prefix: int) -> None:
        self.model, self.noise, self.prefix = model, noise, prefix
        self.checkpointing = False
        base: Any = model.get_base_model()
        self.body = base.model
        self.head: torch.Tensor = base.get_output_embeddings().weight
        plain = getattr(base.config, "quantization_config", None) is None
        recordable = self.head.is_cuda and plain and not noise.embeddings
        self.recorder = Recorder(self._compute, list(trainable(model).values())) if recordable else None

    def loss(self, examples: Sequence[Example], places: Sequence[int], key: int) -> torch.Tensor:
        prefix = common_prefix(examples, self.prefix)  # rows that are not trained on may begin otherwise
        if self.recorder and torch.is_grad_enabled() and not self.checkpointing:
            return self.recorder.loss(examples, places, prefix, key)
        return self._compute(self._noted(examples, pack(examples, places, prefix, key, self.head.device.type)))

    def token_losses(self, examples: Sequence[Example], places: Sequence[int], key: int) -> torch.Tensor:
        packed = pack(examples, places, common_prefix(examples, self.prefix), key, self.head.device.type)
        self._noted(examples, packed)
        return token_losses(llama.hidden_states(self.body, packed, self.checkpointing), self.head, packed.labels)

    def give_up(self) -> bool:
        return self.recorder is not None and self.recorder.give_up()

    def _noted(self, examples: Sequence[Example], packed: Packed) -> Packed:
        """The same, with its keys and lengths noted where noise on the embeddings asks for them; rows then share no
        prefix."""
        if self.noise.embeddings:
            lengths = torch.tensor([len(example) for example in examples])
            self.noise.keys = packed.keys
            self.noise.lengths = lengths.repeat_interleave(lengths).to(packed.keys.device)
        return packed

    def _compute(self, packed: Packed) -> torch.Tensor:
        hidden = llama.hidden_states(self.body, packed, self.checkpointing)
        return label_loss(hidden, self.head, packed.labels, packed.label_weights)


class PaddedForward:
    """The model's own forward over rows padded on the right, with the head applied only where a label is.

    ``prefix`` tokens still share their dropout masks, so both passes give the same gradient.
    """

    name = "padded"
    padded = True

    def __init__(self, model: PeftModel, noise: Noise, prefix: int) -> None:
        self.model, self.noise, self.prefix = model, noise, prefix
        base: Any = model.get_base_model()
        self.body = getattr(base, base.base_model_prefix, base)
        self.head: torch.Tensor = base.get_output_embeddings().weight
        self.shape = PLAIN
        self._checkpointing = False

    @property
    def checkpointing(self) -> bool:
        """Whether activations are recomputed in the backward pass."""
        return self._checkpointing

    @checkpointing.setter
    def checkpointing(self, on: bool) -> None:
        base: Any = self.model.get_base_model()
        if on:
            base.activation_checkpointing_enable({"use_reentrant": False})
        elif self._checkpointing:
            base.activation_checkpointing_disable()
        self._checkpointing = on

    def loss(self, examples: Sequence[Example], places: Sequence[int], key: int) -> torch.Tensor:
        return self.token_losses(examples, places, key).sum()

    def token_losses(self, examples: Sequence[Example], places: Sequence[int], key: int) -> torch.Tensor:
        ids, mask, label_at, labels = self._laid_out(examples, places, key)
        output = self.body(ids, attention_mask=mask, use_cache=False)
        hidden = output.last_hidden_state.flatten(0, 1).index_select(0, label_at)
        return token_losses(hidden, self.head, labels, self.shape)

    def _laid_out(
        self, examples: Sequence[Example], places: Sequence[int], key: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Ids and mask, [rows, width], the flat positions before the labels, and the labels; keys the dropout."""
        device = self.head.device
        width = max(len(example) for example in examples)
        ids = torch.zeros(len(examples), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        label_at, labels = [], []
        for row, example in enumerate(examples):
            tokens = example.prompt_ids + example.answer_ids
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            before = row * width + len(example.prompt_ids) - 1
            label_at += [before + place for place in example.label_places]
            labels += [example.answer_ids[place] for place in example.label_places]
        positions = torch.arange(width).expand_as(ids)
        rows = torch.tensor(places).unsqueeze(1).expand_as(ids)
        rows = torch.where(positions < self.prefix, SHARED_ROW, rows)
        self.noise.keys = token_keys(key, rows, positions).to(device)
        self.noise.lengths = mask.sum(dim=1, keepdim=True).to(device)
        at, wanted = torch.tensor(label_at, device=device), torch.tensor(labels, device=device)
        return ids.to(device), mask.to(device), at, wanted

    def give_up(self) -> bool:
        return False


class OwnLogitsForward(PaddedForward):
    """The model's whole forward with its own logits, for families that do more between body and logits than one head
    with a scale, a cap and a bias: slower, and with all logits in memory."""

    name = "padded, own logits"

    def token_losses(self, examples: Sequence[Example], places: Sequence[int], key: int) -> torch.Tensor:
        ids, mask, label_at, labels = self._laid_out(examples, places, key)
        logits = self.model.get_base_model()(input_ids=ids, attention_mask=mask, use_cache=False).logits
        chosen = logits.flatten(0, 1).index_select(0, label_at).float()
        return nn.functional.cross_entropy(chosen, labels, reduction="none")


def shapes_of(model: PreTrainedModel) -> list[LogitShape]:
    """What this family may do to its head's product, by its configuration; the first is the likeliest."""
    config, head = model.config, model.get_output_embeddings()
    cap = next((value for name in CAPS if (value := getattr(config, name, None))), None)
    scales = [float(value) for name in FACTORS if isinstance(value := getattr(config, name, None), int | float)]
    divisor = getattr(config, "logits_scaling", None)
    if isinstance(divisor, int | float) and divisor:
        scales += [1 / divisor, float(divisor)]
    return [LogitShape(scale, cap, getattr(head, "bias", None)) for scale in (scales or [1.0])]


def choose_forward(model: PeftModel, noise: Noise, examples: Sequence[Example], prefix: int) -> Forward:
    """The packed pass if the model is of the Llama family and the numbers agree; else the padded one, else the model's
    own logits.

    All are compared with the logits of the model's own forward. Raises UserError if not even those agree when rows
    are padded, as in a model whose rows look at each other.
    """
    sample = [clipped(example) for example in examples[:CHECK_ROWS]]
    expected = reference_loss(model, sample)
    for forward in candidates(model, noise, min(prefix, min(len(example.prompt_ids) for example in sample) - 1)):
        with torch.no_grad():
            found = forward.loss(sample, range(len(sample)), key=0).item()
        if abs(found - expected) <= tolerance(model, forward.head.dtype) * abs(expected):
            forward.prefix = prefix
            return forward
    raise UserError(
        f"{type(model.get_base_model()).__name__} gives other numbers when rows are padded, so this loop cannot train "
        "it: choose another model."
    )


def tolerance(model: PeftModel, dtype: torch.dtype) -> float:
    """How far two ways to the same loss may part, as a share of it. bitsandbytes rounds the inputs of an 8-bit layer by
    the largest of the rows beside it, so a quantised base computes a little differently in company."""
    exact = TOLERANCE.get(dtype, 0.05)
    return max(exact, QUANTISED_TOLERANCE) if getattr(model.get_base_model(), "is_quantized", False) else exact


def candidates(model: PeftModel, noise: Noise, prefix: int) -> Iterator[Forward]:
    """The passes to try, the fastest first."""
    base: Any = model.get_base_model()
    if llama.supported(base) and not any(
        getattr(settings, "use_dora", False) for settings in model.peft_config.values()
    ):
        yield PackedForward(model, noise, prefix)
    if isinstance(getattr(base, base.base_model_prefix, None), nn.Module):
        for shape in shapes_of(base):
            forward = PaddedForward(model, noise, prefix)
            forward.shape = shape
            yield forward
    yield OwnLogitsForward(model, noise, prefix)


def clipped(example: Example) -> Example:
    """The example with at most CHECK_TOKENS answer tokens."""
    if not example.labelled:
        return Example(example.prompt_ids, example.answer_ids[:CHECK_TOKENS])
    last = max(place for place in example.label_places if place < CHECK_TOKENS) + 1
    return Example(example.prompt_ids, example.answer_ids[:last], labelled=example.labelled[:last])


def reference_loss(model: PeftModel, examples: Sequence[Example]) -> float:
    """The summed loss from the model's own logits, one row at a time, without dropout."""
    total = 0.0
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for example in examples:
            ids = torch.tensor([example.prompt_ids + example.answer_ids], device=next(model.parameters()).device)
            places = list(example.label_places)
            logits = model(input_ids=ids, use_cache=False).logits[0, len(example.prompt_ids) - 1 : -1].float()
            labels = ids[0, len(example.prompt_ids) :][places]
            total += nn.functional.cross_entropy(logits[places], labels, reduction="sum").item()
    model.train(was_training)
    return total


def computed_tokens(forward: Forward, examples: Sequence[Example]) -> int:
    """Tokens that a pass over these examples really computes."""
    prefix = common_prefix(examples, forward.prefix)
    return pass_tokens([len(example) for example in examples], prefix, forward.padded)
