"""What votes say in sentences: the headline, what one should know beside it, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eval_prompts.votes.evidence import Scope
from eval_prompts.votes.names import PLAIN

EMPTY = "No votes yet: ask, then press 1-4 to say which answer is better."


def headline(statistics: dict[str, Any], sides: dict[str, str] = PLAIN) -> str:
    """The one sentence that answers 'which is better, and how sure are we?', from blind votes alone; ``statistics``
    are those of the 'blind' and the 'open' votes, ``sides`` their names."""
    blind, opened = statistics["blind"], statistics["open"]
    if not blind["counts"]["total"] and not opened["counts"]["total"]:
        return EMPTY
    if not blind["counts"]["total"]:
        return (
            "No blind votes yet: who sees the names is no judge of the answers. Tick \u201cBlind\u201d before asking."
        )
    wins, found = blind["tuned_wins"], blind["evidence"]
    if not wins["of"]:
        return "Nobody has preferred a side blind yet: every blind vote is a tie or says that both are bad."
    told = f"{sides['tuned']} wins {share(wins, 'blind ')} ({of_whom(blind)})"
    if found["better"] is None:
        return f"Not enough blind votes to tell: {told}.{_further(found)}"
    return f"{_who_prefers(found, blind).format(side=sides[found['better']])}: {told}.{_whom_to_ask(found)}"


def _who_prefers(found: dict[str, Any], blind: dict[str, Any]) -> str:
    if found["holds_for"] == Scope.EVERYONE:
        return "People prefer {side}"
    if found["holds_for"] == Scope.PEOPLE:
        asked = "this one question" if blind["questions"] == 1 else f"these {blind['questions']} questions"
        return f"On {asked} people prefer {{side}}"
    return (
        "The one rater so far prefers {side}"
        if blind["raters"] == 1
        else (f"The {blind['raters']} raters so far prefer {{side}}")
    )


def _whom_to_ask(found: dict[str, Any]) -> str:
    """What a claim that holds for some alone does not tell."""
    return {
        Scope.EVERYONE.value: "",
        Scope.PEOPLE.value: " Whether that holds for other questions, more questions would show.",
        Scope.QUESTIONS.value: " Whether other people do, only their votes would show: 8 people or more.",
    }[found["holds_for"]]


def _further(found: dict[str, Any]) -> str:
    """How much evidence is missing."""
    more = found["claims"][found["main"]]["more"]
    if more is None:
        return ""
    one, many = {
        Scope.EVERYONE.value: ("blind vote", "blind votes"),
        Scope.PEOPLE.value: ("person", "people"),
        Scope.QUESTIONS.value: ("question", "questions"),
    }[found["main"]]
    return f" If it goes on like this, about {more} more {one if more == 1 else many} would tell."


def of_whom(statistics: dict[str, Any]) -> str:
    """'3 people, 12 questions'."""
    people, questions = statistics["raters"], statistics["questions"]
    return f"{people} {'person' if people == 1 else 'people'}, {questions} question{'s' if questions != 1 else ''}"


def share(found: dict[str, Any], kind: str = "") -> str:
    """'9 of 12 decided votes, 75%'; ``kind`` is a word before 'votes'."""
    votes = f"decided {kind}vote" if found["of"] == 1 else f"decided {kind}votes"
    return f"{found['wins']} of {found['of']} {votes}, {found['rate']:.0%}"


def chance(found: dict[str, Any]) -> str:
    """The confidence sequence of the votes that count, in words; ``found`` is ``vote_statistics.evidence``."""
    claim = found["claims"][found["main"]]
    kinds = {
        Scope.EVERYONE.value: "",
        Scope.PEOPLE.value: ", one of each person",
        Scope.QUESTIONS.value: ", one on each question",
    }
    votes = "vote" if claim["of"] == 1 else "votes"
    return (
        f"95% confidence sequence {claim['low']:.0%} to {claim['high']:.0%}, from {claim['of']} independent {votes}"
        f"{kinds[found['main']]}"
    )


def notes(statistics: dict[str, Any], sides: dict[str, str] = PLAIN) -> Iterable[str]:
    """What one should know beside the win rate, in sentences: repetitions, ties, lengths, position, agreement; the last
    two of the blind ones among the votes."""
    if statistics["repeated"]:
        yield (
            f"{statistics['repeated']} of {statistics['counts']['total']} votes repeat earlier ones of the same person "
            "on the same answers, and count no further."
        )
    ties = statistics["counts"]["tie"] + statistics["counts"]["both_bad"]
    if ties and statistics["net"] is not None:
        yield (
            f"Ties: {ties} of {statistics['counts']['total']} votes prefer no side; counted with them, "
            f"{sides['tuned']} is ahead by {100 * statistics['net']:+.0f} of 100 votes."
        )
    lengths, position, agreement = statistics["lengths"], statistics["position"], statistics["agreement"]
    middle, longer = lengths["median_tokens"], lengths["longer_wins"]
    if middle["base"] is not None:
        won = (
            f"; preferred answers {middle['preferred']:.0f}, the others {middle['other']:.0f}"
            if middle["preferred"] is not None
            else ""
        )
        times = f"; the longer answer was preferred {longer['wins']} of {longer['of']} times" if longer["of"] else ""
        yield (
            f"Length: {sides['base']} {middle['base']:.0f} tokens, {sides['tuned']} {middle['tuned']:.0f}{won} "
            f"(medians){times}."
        )
        if equal := lengths["equal_length"]:
            yield (
                f"At equal length {sides['tuned']} would win {equal['rate']:.0%} of decided votes "
                f"({equal['low']:.0%} to {equal['high']:.0%}, for one look)."
            )
    if position["of"]:
        yield (
            f"Position: of the blind votes the left answer won {position['wins']} of {position['of']} "
            f"({position['low']:.0%} to {position['high']:.0%}); 50% is unbiased."
        )
    if agreement["of"]:
        yield (
            f"People and machine: where one answer alone does its task, blind votes preferred that one "
            f"{agreement['wins']} of {agreement['of']} times{_beyond_chance(agreement['kappa'])}."
        )


def _beyond_chance(kappa: float | None) -> str:
    return "" if kappa is None else f" (Cohen's kappa {kappa:.2f}: 1 is full agreement, 0 that of chance)"
