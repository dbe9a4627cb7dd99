"""How much of a text is said again.

The score is the share of the text's runs of ``RUN`` tokens (words, numbers and signs) that occurred before in it: the
rate of duplicate n-grams known as seq-rep-n (Welleck et al., "Neural Text Generation with Unlikelihood Training",
2020, section 3). Runs of 16 tokens pass over the phrases that code repeats by nature, such as ``for i in range(``.
"""

from __future__ import annotations

import re

RUN = 16
THRESHOLD = 0.25
TOKEN = re.compile(r"\w+|[^\w\s]")


def repetition(text: str) -> float:
    """The score, from 0 (no run of 16 tokens occurs twice) to nearly 1 (one phrase over and over)."""
    tokens = TOKEN.findall(text)
    runs = [tuple(tokens[at : at + RUN]) for at in range(len(tokens) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def repeats(text: str) -> bool:
    """Whether a quarter or more of the text says again what it said before."""
    return repetition(text) >= THRESHOLD
