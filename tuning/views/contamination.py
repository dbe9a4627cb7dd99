"""Rows near what they must not be near: the questions of a suite, and train rows near held-out ones.

A question counts as near another if half of its runs of words stand in it too, as lm-eval's decontamination looks for
shared n-grams (Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C, with n = 13; here questions are
short, and n is 5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tuning.data.cleaning import NGRAM, PROBE_OVERLAP, Phrases, Row, phrases_of
from tuning.data.dataset import DataSet

EXAMPLES = 3
SHOWN = 80
COMMON = 200
"""A run of words that more rows share says nothing of any two of them."""


@dataclass(frozen=True)
class Near:
    """How many rows are near, and examples: a row's line, its question and the one that it is near."""

    what: str
    count: int
    of: int
    examples: list[tuple[int, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"{self.what}: {self.count:,} of {self.of:,} rows"
        shown = [f"  line {line}: {row!r} is near {other!r}" for line, row, other in self.examples]
        return "\n".join([told, *shown])

    def to_dict(self) -> dict[str, object]:
        """As JSON data."""
        examples = [{"line": line, "row": row, "near": other} for line, row, other in self.examples]
        return {"what": self.what, "count": self.count, "of": self.of, "examples": examples}


class Index:
    """Texts by the runs of words in them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = list(texts)
        self.phrases: list[Phrases] = [phrases_of(text) for text in self.texts]
        self.places: dict[tuple[bytes, ...], list[int]] = {}
        for at, phrases in enumerate(self.phrases):
            for phrase in phrases:
                self.places.setdefault(phrase, []).append(at)

    def nearest(self, text: str) -> str | None:
        """The text of which ``text`` repeats half of the runs of words or more, if there is one."""
        shared: dict[int, int] = {}
        for phrase in phrases_of(text):
            places = self.places.get(phrase, ())
            for at in places if len(places) <= COMMON else ():
                shared[at] = shared.get(at, 0) + 1
        best = max(shared, key=lambda at: (shared[at] / len(self.phrases[at]), -at), default=None)
        if best is None or shared[best] < PROBE_OVERLAP * len(self.phrases[best]):
            return None
        return self.texts[best]


def asked(row: Row) -> str:
    """What of a row is compared."""
    return f"{row.question} {row.input}".strip()


def near(what: str, rows: Sequence[Row], texts: Iterable[str]) -> Near:
    """The rows near one of ``texts``."""
    index = Index(texts)
    examples: list[tuple[int, str, str]] = []
    count = 0
    for row in rows:
        other = index.nearest(asked(row))
        if other is None:
            continue
        count += 1
        if len(examples) < EXAMPLES:
            examples.append((row.line, short(asked(row)), short(other)))
    return Near(what, count, len(rows), examples)


def near_suite(dataset: DataSet, name: str, questions: Iterable[str], told: str = "") -> Near:
    """The rows near a suite's questions; ``told`` says where they are from."""
    where = f"{told}; " if told else ""
    return near(f"near the questions of {name} ({where}{NGRAM}-word overlap)", dataset.rows(), questions)


def near_test(dataset: DataSet) -> Near:
    """The training rows near a test row."""
    return near(f"training rows near a test row ({NGRAM}-word overlap)", dataset.train, map(asked, dataset.test))


def short(text: str) -> str:
    """The beginning of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
