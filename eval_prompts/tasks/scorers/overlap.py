"""Scorers of likeness to a reference: BLEU, chrF, ROUGE-L."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import regex

from eval_prompts.tasks.scorers.base import Given, Judge, Score, maybe_number, measured, number

LONGEST = 20_000
"""Characters that are compared; what is cut off is said."""
WORD = regex.compile(r"\w+")
BETA = 2
"""How much more recall weighs than precision."""
CHARACTERS = 6
"""The longest n-gram of characters that chrF counts."""


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
        texts = tuple(text[:LONGEST] for text in given.references)
        figure = chrf_figure(given.text[:LONGEST], texts, order) / 100
        return _told("chrf", "chrF" + "+" * order, figure, line, given)

    return judge


@dataclass(frozen=True, slots=True)
class Ngrams:
    """The n-grams of one length in a text, and how many there are. ``counts`` is None where none stands twice."""

    different: frozenset[str]
    total: int
    counts: Counter[str] | None = None

    @classmethod
    def of(cls, items: list[str]) -> Ngrams:
        """N-grams as they stand in a text."""
        different = frozenset(items)
        return cls(different, len(items), None if len(different) == len(items) else Counter(items))

    def matched(self, other: Ngrams) -> int:
        """How many of them the other text has too, each as often as both have it."""
        shared = self.different & other.different
        if self.counts is None or other.counts is None:
            return len(shared)
        ours, theirs = self.counts, other.counts
        return sum([min(ours[ngram], theirs[ngram]) for ngram in shared])


def chrf_figure(answer: str, references: tuple[str, ...], order: int) -> float:
    """chrF from 0 to 100, as ``sacrebleu``'s ``CHRF(word_order=order).sentence_score`` has it; the best reference's.

    M. Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015. It is worked out here because
    sacrebleu counts every n-gram of a reference again for each answer.
    """
    ours = ngrams(answer, order)
    return max(f_score(ours, ngrams(reference, order)) for reference in references)


def f_score(ours: Sequence[Ngrams], theirs: Sequence[Ngrams]) -> float:
    """The F-score from 0 to 100 of the mean precision and the mean recall over those lengths that both texts have."""
    precision = recall = 0.0
    lengths = 0
    for one, other in zip(ours, theirs, strict=True):
        if one.total and other.total:
            matched = one.matched(other)
            precision += matched / one.total
            recall += matched / other.total
            lengths += 1
    if not precision + recall:
        return 0.0
    precision, recall, factor = precision / lengths, recall / lengths, BETA**2
    return 100 * ((1 + factor) * precision * recall / (factor * precision + recall))


NGRAM_CHARACTERS = 1_000
"""Texts up to which n-grams are kept: references are met once for each side, and answers are often the same."""


def ngrams(text: str, order: int) -> tuple[Ngrams, ...]:
    """The n-grams of a text with their counts and how many there are, by length: 1 to 6 characters without white space,
    then 1 to ``order`` words."""
    return kept_ngrams(text, order) if len(text) <= NGRAM_CHARACTERS else counted_ngrams(text, order)


def counted_ngrams(text: str, order: int) -> tuple[Ngrams, ...]:
    """As :func:`ngrams`, counted anew."""
    characters = "".join(text.split())
    found = [
        Ngrams.of([characters[at : at + length] for at in range(len(characters) - length + 1)])
        for length in range(1, CHARACTERS + 1)
    ]
    words = [part for word in text.split() for part in parts_of(word)] if order else []
    found += [
        Ngrams.of([" ".join(words[at : at + length]) for at in range(len(words) - length + 1)])
        for length in range(1, order + 1)
    ]
    return tuple(found)


def parts_of(word: str) -> list[str]:
    """A word without the punctuation mark at its end, or else at its beginning, and that mark."""
    if len(word) > 1 and word[-1] in string.punctuation:
        return [word[:-1], word[-1]]
    if len(word) > 1 and word[0] in string.punctuation:
        return [word[0], word[1:]]
    return [word]


kept_ngrams = lru_cache(maxsize=128)(counted_ngrams)


@lru_cache(maxsize=1)
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


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
