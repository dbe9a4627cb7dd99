"""The five probe questions of the original experiment, in its words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """A fixed question: ``id`` names it in files and votes, ``title`` on the page."""

    id: str
    title: str
    question: str


PROBES: tuple[Probe, ...] = (
    Probe("knn", "KNN classifier", "Implement a KNN classifier in Python."),
    Probe("fibonacci", "Fibonacci series", "Write a function in Python to print the Fibonacci series."),
    Probe(
        "average",
        "Average of a list",
        "Generate a function for calculating the average of a list of numbers in Python.",
    ),
    Probe(
        "membership",
        "Element in a list",
        "Write a Python program to check if an element exists within a given list of integers.",
    ),
    Probe(
        "circle",
        "Area of a circle",
        "Edit the following python code to prompt the user to enter the value of radius "
        "to calculate the area of a circle.",
    ),
)
