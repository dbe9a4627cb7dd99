"""Ratios of interleaved measurements, with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Median and range of ours / theirs, round by round: a drift of the machine's speed cancels."""
    each = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(each):.2f}x ({min(each):.2f} to {max(each):.2f})"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
