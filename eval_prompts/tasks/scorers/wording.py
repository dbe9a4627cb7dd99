"""Scorers of the words of an answer: exact, normalised, contains, excludes, any_of, regex, length, language."""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import lru_cache
from typing import Any

import regex

from eval_prompts.tasks.scorers.base import (
    Given,
    Judge,
    Score,
    flag,
    maybe_number,
    number,
    one_of,
    quoted,
    said,
    texts,
    unknown,
)
from tuning.errors import UserError

REGEX_SECONDS = 0.1
LONGEST = 200_000
"""Characters of an answer that are looked at by anything that costs more than a glance."""
PUNCTUATION = regex.compile(r"[\p{P}\p{S}]+")
UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
"""Scripts that put no space between words."""
SHORTEST_FOR_LANGUAGE = 12
"""Letters below which a language is a guess."""
_identifying = threading.Lock()


def normalise(text: str) -> str:
    """A text without its case, punctuation, symbols and runs of white space, in compatibility form (NFKC).

    Letters keep their accents. A text of nothing but punctuation stays as it is, so that "+" is not "-".
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = " ".join(PUNCTUATION.sub(" ", folded).split())
    return bare or " ".join(folded.split())


def exact() -> Judge:
    """The answer is the reference, but for white space around it."""

    def judge(given: Given) -> Score:
        answer = given.text.strip()
        passed = any(answer == reference.strip() for reference in given.references)
        return said("exact", passed, "" if passed else f"not {quoted(given.references[0])}")

    return judge


def normalised() -> Judge:
    """The answer is the reference, but for case, punctuation and spaces."""

    def judge(given: Given) -> Score:
        answer = normalise(given.text)
        passed = any(answer == normalise(reference) for reference in given.references)
        return said("normalised", passed, "" if passed else f"not {quoted(given.references[0])}")

    return judge


@lru_cache(maxsize=4096)
def finder(wanted: str, case: bool, words: bool) -> regex.Pattern[str]:
    """A pattern that finds a text whatever its spaces; with ``words`` not in the middle of a longer word."""
    folded = unicodedata.normalize("NFC", wanted.strip())
    pattern = r"\s+".join(map(regex.escape, folded.split()))
    if words:
        first, last = folded[0], folded[-1]
        pattern = (r"(?<![\p{L}\p{N}_])" if _spaced(first) else "") + pattern
        pattern += r"(?![\p{L}\p{N}_])" if _spaced(last) else ""
    return regex.compile(pattern, 0 if case else regex.IGNORECASE | regex.FULLCASE)


def _spaced(character: str) -> bool:
    return character.isalnum() and not UNSPACED.match(character)


def contains(text: Any = None, case: Any = False, words: Any = True) -> Judge:
    """The answer holds the reference (any of them), or all of the texts in ``text``."""
    return _holding("contains", text, case, words, wanted=True)


def excludes(text: Any, case: Any = False, words: Any = True) -> Judge:
    """The answer holds none of the texts in ``text``."""
    return _holding("excludes", text, case, words, wanted=False)


def _holding(name: str, text: Any, case: Any, words: Any, wanted: bool) -> Judge:
    fixed = None if text is None else texts(text, "text")
    case, words = flag(case, "case"), flag(words, "words")

    def holds(answer: str, part: str) -> bool:
        return finder(part, case, words).search(answer) is not None

    def judge(given: Given) -> Score:
        answer = unicodedata.normalize("NFC", given.text)
        if fixed is None:
            passed = any(holds(answer, reference) for reference in given.references)
            return said(name, passed, "" if passed else f"{quoted(given.references[0])} is not in it")
        odd = [part for part in fixed if holds(answer, part) != wanted]
        reason = ", ".join(map(quoted, odd)) + (" is not in it" if wanted else " is in it")
        return said(name, not odd, reason if odd else "", 1 - len(odd) / len(fixed))

    return judge


def any_of(separator: Any = "|") -> Judge:
    """The answer holds one of the alternatives in the reference, as ``Peking | Beijing``."""
    (mark,) = texts(separator, "separator")

    def judge(given: Given) -> Score:
        wanted = [part for reference in given.references for part in reference.split(mark) if part.strip()]
        if not wanted:
            return unknown("any_of", f"the reference {quoted(given.references[0])} holds no alternative")
        answer = unicodedata.normalize("NFC", given.text)
        passed = any(finder(part, False, True).search(answer) for part in wanted)
        return said("any_of", passed, "" if passed else f"none of {', '.join(map(quoted, wanted[:5]))} is in it")

    return judge


def pattern(pattern: Any = None, whole: Any = False, case: Any = True) -> Judge:
    """A regular expression is found in the answer (``whole``: is the answer); without ``pattern``, the reference's."""
    flags, whole = (0 if flag(case, "case") else regex.IGNORECASE), flag(whole, "whole")
    if pattern is not None:
        compiled(str(pattern), flags)

    def judge(given: Given) -> Score:
        found = False
        for source in [str(pattern)] if pattern is not None else given.references:
            try:
                search = compiled(source, flags)
                match = search.fullmatch if whole else search.search
                found = found or match(given.text.strip() if whole else given.text, timeout=REGEX_SECONDS) is not None
            except UserError as error:
                return unknown("regex", str(error))
            except TimeoutError:
                return unknown("regex", f"the pattern takes longer than {REGEX_SECONDS:g} s on this answer")
        return said("regex", found, "" if found else "the pattern is not found")

    return judge


@lru_cache(maxsize=1024)
def compiled(source: str, flags: int) -> regex.Pattern[str]:
    """A pattern. Raises UserError for one that is none."""
    try:
        return regex.compile(source, flags)
    except RecursionError:
        raise UserError("pattern is not a regular expression (it is nested too deeply)") from None
    except (regex.error, OverflowError) as error:
        raise UserError(f"pattern is not a regular expression ({error})") from None


def length(least: Any = 0, most: Any = None, unit: Any = "words") -> Judge:
    """The answer has from ``least`` to ``most`` words, characters or lines."""
    unit = one_of(unit, "unit", ("words", "characters", "lines"))
    low, high = number(least, "least", 0), maybe_number(most, "most", 0)
    if high is not None and high < low:
        raise UserError("most must not be below least")
    if high is None and not low:
        raise UserError("length needs least or most")

    def judge(given: Given) -> Score:
        text = given.text.strip()
        count = {"words": lambda: len(text.split()), "characters": lambda: len(text)}.get(
            unit, lambda: len([line for line in text.splitlines() if line.strip()])
        )()
        passed = low <= count and (high is None or count <= high)
        wanted = (
            f"from {low:g} to {high:g}"
            if high is not None and low
            else f"at most {high:g}"
            if high is not None
            else f"at least {low:g}"
        )
        return said("length", passed, f"{count:,} {unit}" + ("" if passed else f", {wanted} are asked for"))

    return judge


def language(code: Any) -> Judge:
    """The answer is in a language (ISO 639-1: en, de, fr …), as py3langid recognises it."""
    wanted = str(code).strip().lower()
    if not re.fullmatch(r"[a-z]{2,3}", wanted) or wanted not in known_languages():
        raise UserError("code must be a language's code, such as en, de, fr, es or zh")

    def judge(given: Given) -> Score:
        if sum(character.isalpha() for character in given.text[:1000]) < SHORTEST_FOR_LANGUAGE:
            return unknown("language", "the answer is too short to tell its language")
        seen = recognised(given.text)
        return said("language", seen == wanted, f"it reads as {seen}" + ("" if seen == wanted else f", not {wanted}"))

    return judge


def recognised(text: str) -> str:
    """The language that a text reads as (ISO 639-1), by its first 2,000 characters."""
    with _identifying:
        return str(identifier().classify(text[:2000])[0])


@lru_cache(maxsize=1)
def identifier() -> Any:
    """The recogniser of languages, loaded once."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


@lru_cache(maxsize=1)
def known_languages() -> tuple[str, ...]:
    """The codes of the languages that are recognised."""
    return tuple(sorted(map(str, identifier().labels)))
