"""The five probe questions of the original experiment, in its words."""

from __future__ import annotations

from dataclasses import dataclass

from tuning.data.probe_questions import PROBE_QUESTIONS


@dataclass(frozen=True)
class Probe:
    """A fixed question: ``id`` names it in files and votes, ``title`` on the page."""

    id: str
    title: str
    question: str


TITLES = {
    "knn": "KNN classifier",
    "fibonacci": "Fibonacci series",
    "average": "Average of a list",
    "membership": "Element in a list",
    "circle": "Area of a circle",
}
PROBES: tuple[Probe, ...] = tuple(Probe(id, TITLES[id], question) for id, question in PROBE_QUESTIONS.items())
