"""Rows cleaned and told apart: what is empty, broken, repeated or a probe is left out; each row's id and split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from tuning.data.reading.values import trimmed
from tuning.data.rows import LeftOut, RawRow, Turns, turns_to_json

TRAIN_SHARE, VALIDATION_SHARE = 0.8, 0.1
NGRAM = 5
PROBE_OVERLAP = 0.5
SPLITS = ("train", "validation", "test")
MAX_CHARACTERS = 1_000_000
DUPLICATE = "duplicate row"
SAME_ANSWERS = "the better and the worse answer are the same"
CONTRADICTED = "contradicted by another pair, which prefers the other answer"
WORDS_ONLY = bytes(byte if chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789" else ord(" ") for byte in range(256))
Phrases = frozenset[tuple[bytes, ...]]
ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One cleaned question with its answer, or a conversation (``turns``, see :class:`tuning.data.rows.RawRow`).

    ``id`` depends on question and input alone, unless rows of the data differ only in what :func:`normalised` removes
    or in their answers: its first half, which decides the split, still does. ``line`` is where the row stands,
    ``rejected`` a worse answer, in preference data.
    """

    id: str
    question: str
    input: str
    answer: str
    check: str = ""
    turns: Turns = ()
    line: int = field(default=0, compare=False)
    rejected: str = ""


def clean(rows: Iterable[RawRow], dropped: Counter[str], exclude: Iterable[str]) -> list[Row]:
    """Rows without white space around them, without the empty, broken, repeated and excluded ones."""
    left_out = dropped if isinstance(dropped, LeftOut) else None
    excluded = Excluded(exclude)
    seen: set[str] = set()
    kept = []
    for raw in rows:
        row = clean_row(raw, excluded)
        reason = row if isinstance(row, str) else ""
        if isinstance(row, Row):
            exact = exact_digest(row)
            if exact not in seen:
                seen.add(exact)
                kept.append(row)
                continue
            reason = DUPLICATE
        if left_out is not None:
            left_out.add(reason, raw.line)
        else:
            dropped[reason] += 1
    if any(row.rejected for row in kept):
        against = {answers_of(row, reverse=True) for row in kept}
        kept = keep(kept, lambda row: answers_of(row) not in against, CONTRADICTED, dropped)
    return told_apart(kept)


def answers_of(row: Row, reverse: bool = False) -> str:
    """A hash of a pair of answers to their prompt, the better first, or the worse."""
    given = [f"{turn.role} {turn.text}" for turn in row.turns[:-1]]
    both = (row.rejected, row.answer) if reverse else (row.answer, row.rejected)
    return digest(row.question, row.input, *given, *both)


def told_apart(rows: list[Row]) -> list[Row]:
    """The same rows, those that would share an id with ids of their own, whatever their order; none moves to another
    split."""
    met = Counter(row.id for row in rows)
    return [row if met[row.id] == 1 else replace(row, id=twin_id(row.id, exact_digest(row))) for row in rows]


def twin_id(shared: str, exact: str) -> str:
    """The id of a row that is not alone with its normalised question."""
    return shared[: ID_DIGITS // 2] + exact[: ID_DIGITS // 2]


def exact_digest(row: Row) -> str:
    """A hash of all that is trained or shown of a row: duplicates have the same."""
    worse = (row.rejected,) if row.rejected else ()
    return digest(row.question, row.input, row.answer, turns_to_json(row.turns), *worse)


def clean_row(raw: RawRow, excluded: Excluded) -> Row | str:
    """One row without the white space around its texts, or the reason why it is left out."""
    texts = (raw.question, raw.input, raw.answer, raw.rejected, *(turn.text for turn in raw.turns))
    if max(map(len, texts)) > MAX_CHARACTERS:
        return f"over {MAX_CHARACTERS:,} characters"
    question, given, answer = trimmed(raw.question), trimmed(raw.input), trimmed(raw.answer)
    if not question:
        return "empty question"
    if not answer:
        return "empty answer"
    if "\x00" in "".join(texts):
        return "NUL byte"
    if excluded.repeated_in(f"{question} {given}"):
        return "repeats a probe question"
    worse = trimmed(raw.rejected)
    if worse.strip() == answer.strip():
        return SAME_ANSWERS
    return Row(row_id(question, given), question, given, answer, raw.check, raw.turns, raw.line, worse)


def keep(rows: list[Row], condition: Callable[[Row], bool], reason: str, dropped: Counter[str]) -> list[Row]:
    """The rows for which ``condition`` holds; the others are counted under ``reason``."""
    kept = []
    for row in rows:
        if condition(row):
            kept.append(row)
        elif isinstance(dropped, LeftOut):
            dropped.add(reason, row.line)
        else:
            dropped[reason] += 1
    return kept


def words_of(text: str) -> list[bytes]:
    """Lower-case words and numbers (ASCII) of a text."""
    return text.lower().encode("ascii", "replace").translate(WORDS_ONLY).split()


def phrases_of(text: str, size: int = NGRAM) -> Phrases:
    """All runs of ``size`` words of a text; a shorter text is one run."""
    words = words_of(text)
    runs = range(max(1, len(words) - size + 1))
    return frozenset(tuple(words[at : at + size]) for at in runs)


class Excluded:
    """Questions that no row may repeat: a row does with half of a question's runs of five words, or, where a question
    has fewer words, with just these in one run."""

    def __init__(self, questions: Iterable[str]) -> None:
        found = [phrases_of(question) for question in questions]
        self.long = [phrases for phrases in found if len(max(phrases)) == NGRAM]
        self.short = [b" ".join(max(phrases)) for phrases in found if len(max(phrases)) < NGRAM]
        self.any = frozenset().union(*self.long)

    def repeated_in(self, text: str) -> bool:
        """Whether a text repeats one of the questions."""
        words = words_of(text)
        runs = zip(words, words[1:], words[2:], words[3:], words[4:], strict=False)
        if self.short:
            spaced = b" ".join((b"", *words, b""))
            if any(b" %b " % question in spaced for question in self.short):
                return True
        if self.any.isdisjoint(runs):
            return False
        phrases = phrases_of(text)
        return any(len(phrases & each) >= PROBE_OVERLAP * len(each) for each in self.long)


def normalised(text: str) -> str:
    """Text without differences of case and white space."""
    return " ".join(text.lower().split())


def digest(*parts: str) -> str:
    """SHA-256 of texts, unambiguous about where one ends and the next begins, as hexadecimal digits."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()


def row_id(question: str, given: str) -> str:
    """Sixteen hexadecimal digits that depend on the normalised question and input alone."""
    return digest(normalised(question), normalised(given))[:16]


def split_of(row: Row) -> str:
    """The split of a row: by its id alone, so that neither order nor growth of the data moves it."""
    position = int(row.id, 16) / 16**16
    if position < TRAIN_SHARE:
        return "train"
    return "validation" if position < TRAIN_SHARE + VALIDATION_SHARE else "test"
