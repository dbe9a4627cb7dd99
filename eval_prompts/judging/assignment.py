"""What an answer is checked against."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PROBES = frozenset({"knn", "fibonacci", "average", "membership", "circle"})
"""The probes that have checks of their own (``probes.checks.CHECKERS``)."""


@dataclass(frozen=True)
class Assignment:
    """What an answer is checked against: a probe, assertions as in MBPP, or a ``check(candidate)`` as in HumanEval."""

    probe_id: str | None = None
    tests: tuple[str, ...] = ()
    setup: str = ""
    function_test: str = ""
    entry_point: str = ""
    context: str = field(default="", repr=False)

    @property
    def asks_something(self) -> bool:
        """Whether there is anything to pass or fail."""
        return bool(self.probe_id in PROBES or self.tests or self.function_test)

    def to_dict(self) -> dict[str, Any]:
        """The assignment as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Assignment:
        """The assignment that ``to_dict`` made ``data`` of."""
        return cls(**{**data, "tests": tuple(data["tests"])})
