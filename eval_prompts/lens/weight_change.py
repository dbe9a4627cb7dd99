"""How one weight was changed by two low-rank factors.

With ``down`` [rank, in] and ``up`` [out, rank] (the scale is in ``up``), the change is ``up @ down`` [out, in]. Its
singular values are those of a [rank, rank] matrix: thin QR of both factors leaves ``R_up @ R_down.T`` between two
orthonormal bases, so the change itself is never formed for them. All figures are exact up to rounding, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from eval_prompts.models.lora_linear import LowRank

INTRUDER_TOP = 10
INTRUDER_COSINE = 0.5
"""Intruder dimensions (R. Shuttleworth et al., https://arxiv.org/abs/2410.21228): of the ten leading left singular
vectors of the changed weight, those whose cosine with every left singular vector of the untouched weight is below
0.5. Ten and 0.5 are also the defaults of peft's ``reduce_intruder_dimension``."""
TINY = 1e-12


@dataclass(frozen=True)
class Directions:
    """The singular vectors of a weight [out, in]: ``left`` [out, k] and ``right`` [in, k] with k = min(out, in), and
    their ``values`` [k], falling."""

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor


def singular_values(change: LowRank) -> torch.Tensor:
    """All singular values of ``up @ down``, falling, [min(rank, out, in)], in float64."""
    import torch

    upper = torch.linalg.qr(change.up.double(), mode="r").R
    lower = torch.linalg.qr(change.down.double().T, mode="r").R
    values: torch.Tensor = torch.linalg.svdvals(upper @ lower.T)
    return values


def effective_rank(values: torch.Tensor) -> float:
    """The exponential of the entropy of normalised singular values (O. Roy, M. Vetterli, "The effective rank", EUSIPCO
    2007): 1 for one direction, n for n equal ones, 0 for no change at all."""
    total = float(values.sum())
    if total <= 0:
        return 0.0
    shares = values / total
    shares = shares[shares > 0]
    return float((-(shares * shares.log()).sum()).exp())


def directions_of(weight: torch.Tensor) -> Directions:
    """All singular vectors of a weight, by the eigenvectors of the smaller of its two Gram matrices in float64, which
    is many times faster than a singular value decomposition. Directions in which the weight is below a millionth of
    its largest value are not accurate; they have no part in any figure that is asked of them."""
    import torch

    weight = weight.double()
    wide = weight.shape[0] <= weight.shape[1]
    squares, vectors = torch.linalg.eigh(weight @ weight.T if wide else weight.T @ weight)
    values = squares.flip(0).clamp(min=0).sqrt()
    vectors = vectors.flip(1)
    others = (weight.T if wide else weight) @ vectors / values.clamp(min=TINY)
    return Directions(vectors, values, others) if wide else Directions(others, values, vectors)


def alignment(change: LowRank, directions: Directions) -> float:
    """The share of the squared change within as many leading singular vectors of the weight as the change has rank,
    from 0 to 1: ``|U.T @ change @ V|^2 / |change|^2``. A random change is near (rank / out) * (rank / in)."""
    count = change.down.shape[0]
    within = (directions.left[:, :count].T @ change.up.double()) @ (change.down.double() @ directions.right[:, :count])
    whole = float(singular_values(change).square().sum())
    return float(within.square().sum()) / whole if whole > 0 else 0.0


def intruder_count(change: LowRank, weight: torch.Tensor, directions: Directions) -> int:
    """How many of the leading singular vectors of ``weight`` + change are intruders; see :data:`INTRUDER_TOP`."""
    leading = leading_left(weight.double() + change.up.double() @ change.down.double(), INTRUDER_TOP)
    return int(((directions.left.T @ leading).abs().amax(0) < INTRUDER_COSINE).sum())


def leading_left(matrix: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count`` leading left singular vectors of a matrix [out, in], as [out, count] in float64, by ARPACK; all of
    them where the matrix is too small for it."""
    import numpy
    import torch
    from scipy.sparse.linalg import svds

    side = min(matrix.shape)
    if count >= side:
        return directions_of(matrix).left
    start = numpy.random.default_rng(0).standard_normal(side)
    left, values, _ = svds(matrix.numpy(), k=count, v0=start, return_singular_vectors="u")
    return torch.from_numpy(left[:, values.argsort()[::-1]].copy())
