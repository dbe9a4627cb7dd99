"""Scorers of likeness to a reference: BLEU, chrF, ROUGE-L."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import regex

from eval_prompts.tasks.scorers.base import Given, Judge, Score, maybe_number, measured, number

LONGEST = 20_000
"""Characters that are compared; what is cut off is said."""
WORD = regex.compile(r"\w+")


def bleu(at_least: Any = None) -> Judge:
    """BLEU of the sentence (sacrebleu, tokeniser 13a, effective order), 0 to 1."""
    line = maybe_number(at_least, "at_least", 0, 1)

    def judge(given: Given) -> Score:
        metric = _bleu()
        figure = metric.sentence_score(given.text[:LONGEST], [text[:LONGEST] for text in given.references]).score / 100
        return _told("bleu", "BLEU", figure, line, given)

    return judge


def chrf(at_least: Any = None, word_order: Any = 0) -> Judge:
    """chrF of the sentence (sacrebleu), 0 to 1; with ``word_order: 2`` chrF++."""
    line, order = maybe_number(at_least, "at_least", 0, 1), int(number(word_order, "word_order", 0, 2))

    def judge(given: Given) -> Score:
        texts = [text[:LONGEST] for text in given.references]
        figure = _chrf(order).sentence_score(given.text[:LONGEST], texts).score / 100
        return _told("chrf", "chrF" + "+" * order, figure, line, given)

    return judge


@lru_cache(maxsize=1)
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


@lru_cache(maxsize=3)
def _chrf(order: int) -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(word_order=order)


def common_length(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence, a word of machine bits at a time.

    H. Hyyrö, "Bit-parallel LCS-length computation revisited", 2004.
    """
    places: dict[str, int] = {}
    for at, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << at
    full = (1 << len(one)) - 1
    state = full
    for word in other:
        match = state & places.get(word, 0)
        state = (state + match | state - match) & full
    return len(one) - state.bit_count()


def rouge_l_f1(answer: str, reference: str) -> float:
    """ROUGE-L as the F1 of the longest common subsequence of words (C.-Y. Lin, 2004), case folded, no stemming."""
    ours, theirs = (WORD.findall(text[:LONGEST].casefold()) for text in (answer, reference))
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * common_length(ours, theirs) / (len(ours) + len(theirs))


def rouge_l(at_least: Any = None) -> Judge:
    """ROUGE-L (F1 of the longest common subsequence of words), 0 to 1; the best of several references."""
    line = maybe_number(at_least, "at_least", 0, 1)

    def judge(given: Given) -> Score:
        figure = max(rouge_l_f1(given.text, reference) for reference in given.references)
        return _told("rouge_l", "ROUGE-L", figure, line, given)

    return judge


def _told(name: str, title: str, figure: float, line: float | None, given: Given) -> Score:
    figure = min(max(figure, 0.0), 1.0)
    cut = len(given.text) > LONGEST or any(len(text) > LONGEST for text in given.references)
    note = f"; only the first {LONGEST:,} characters are compared" if cut else ""
    return measured(name, figure, line, f"{title} {figure:.3f}{note}", f"{title} {figure:.2f}")
