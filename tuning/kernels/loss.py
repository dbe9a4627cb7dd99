"""The vocabulary head and its loss, only where a label is, in chunks: no full logits tensor ever exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tuning.kernels.matmul import multiply, wide
from tuning.upstream.torch_operators import apply

CHUNK_BYTES = 48 * 2**20


@dataclass(frozen=True)
class LogitShape:
    """What a model does to its head's product: ``cap * tanh(scale * (product + bias) / cap)``, or its inside.

    Gemma 2 and 3 cap, Granite and Cohere scale, Phi and GPT-J have a bias, [vocabulary].
    """

    scale: float = 1.0
    cap: float | None = None
    bias: torch.Tensor | None = None


PLAIN = LogitShape()


class TokenLosses(torch.autograd.Function):
    """Cross-entropy of every label under a frozen head; the gradient of each for its own hidden state is made in the
    forward pass, chunk by chunk, so that nothing of the vocabulary's size outlives its chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        head: torch.Tensor,
        labels: torch.Tensor,
        chunk: int,
        shape: LogitShape,
    ) -> torch.Tensor:
        wants_gradient = ctx.needs_input_grad[0]
        losses = wide(hidden.new_empty(len(labels)))
        gradient = torch.empty_like(hidden) if wants_gradient else None
        for start in range(0, hidden.shape[0], chunk):
            part = slice(start, start + chunk)
            wanted = labels[part].unsqueeze(1)
            scores = wide(multiply(hidden[part].to(head.dtype), head))
            if shape.bias is not None:
                scores += shape.bias
            if shape.scale != 1.0:
                scores *= shape.scale
            slope = None
            if shape.cap is not None:
                scores.div_(shape.cap).tanh_()
                slope = 1 - scores * scores if wants_gradient else None
                scores *= shape.cap
            scores -= scores.gather(1, wanted)
            peak = scores.amax(1, keepdim=True)
            scores.sub_(peak).exp_()
            mass = scores.sum(1, keepdim=True)
            losses[part] = (mass.log() + peak).squeeze(1)
            if gradient is not None:
                scores /= mass
                scores.scatter_add_(1, wanted, torch.full_like(mass, -1.0))
                if slope is not None:
                    scores *= slope
                if shape.scale != 1.0:
                    scores *= shape.scale
                gradient[part] = multiply(scores.to(head.dtype), head.t())
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scale.unsqueeze(1).to(gradient.dtype), None, None, None, None


def token_losses(
    hidden: torch.Tensor, head: torch.Tensor, labels: torch.Tensor, shape: LogitShape = PLAIN
) -> torch.Tensor:
    """-log softmax(hidden @ head.T)[label] of every label, [labels], in fp32 or better; ``shape`` is done to the
    product.

    ``hidden`` [labels, width] are the states that predict them, ``head`` [vocabulary, width] is frozen, ``labels``
    [labels] are token ids. At most 48 MiB of logits exist at a time.
    """
    tensors = 1 if shape.cap is None else 2
    chunk = max(1, CHUNK_BYTES // (4 * tensors * head.shape[0]))
    return apply(TokenLosses, hidden, head, labels, chunk, shape)


def label_loss(
    hidden: torch.Tensor,
    head: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None = None,
    shape: LogitShape = PLAIN,
) -> torch.Tensor:
    """The sum of :func:`token_losses` over labels; those whose ``weights`` [labels] are 0 do not count."""
    losses = token_losses(hidden, head, labels, shape)
    return losses.sum() if weights is None else losses @ weights.to(losses.dtype)
