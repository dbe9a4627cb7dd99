"""A gate for automatic checks: what a finished scoring must hold, with exit codes, and its findings as JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from xml.etree import ElementTree

from eval_prompts.scoring.card import Card, describe
from eval_prompts.scoring.figures import Figures, Standing
from eval_prompts.scoring.table import Outcome


class Exit(IntEnum):
    """What the command ends with."""

    PASSED = 0
    WORSE = 1
    """Something is shown to have got worse."""
    MISTAKE = 2
    """Wrong use, or a scoring that could not be finished."""
    NOT_BETTER = 3
    """The tuned side is not shown to be better, or it cannot be told yet."""


@dataclass(frozen=True)
class Check:
    """One thing that was asked of the scoring. ``problem`` is why it does not hold, or ''."""

    group: str
    name: str
    problem: str = ""
    exit: Exit = Exit.WORSE


def checks(figures: Figures, card: Card, worse_by: float | None, must_be_better: bool) -> list[Check]:
    """What is asked: with ``worse_by``, that no task is shown to have lost that many points or more (0 for any loss)
    and no habit to have become worse; with ``must_be_better``, that one's own task is shown to be better."""
    found = []
    if worse_by is not None:
        for task in figures.tasks:
            lost = round(-task.difference.value * 100, 9) if task.difference else 0.0  # 29.0, not 28.999999999999996
            shown = task.standing is Standing.WORSE and lost >= worse_by
            found.append(Check("not worse", task.title, describe(task) if shown else ""))
        for habit in figures.habits:
            if habit.base is not None:
                found.append(Check("habits", habit.words, habit.sentence if habit.worse else ""))
        for figure in figures.other:
            found.append(Check("figures", str(figure["name"]), str(figure["sentence"]) if figure.get("worse") else ""))
    if must_be_better:
        own = figures.tasks[0]
        problem = "" if own.standing is Standing.BETTER else f"{card.head}: {card.sentence}"
        found.append(Check("better", own.title, problem, Exit.NOT_BETTER))
    return found


def exit_code(found: Sequence[Check]) -> Exit:
    """The exit code of some checks: a loss goes before a gain that is not shown."""
    failed = {check.exit for check in found if check.problem}
    return Exit.WORSE if Exit.WORSE in failed else Exit.NOT_BETTER if failed else Exit.PASSED


def junit(found: Sequence[Check], figures: Figures, card: Card) -> str:
    """The checks as JUnit XML. Single questions are no test cases: which of them are lost varies from run to run. They
    stand in the output of the suite."""
    suites = ElementTree.Element("testsuites", name="LoRA Lens", tests=str(len(found)))
    suites.set("failures", str(sum(bool(check.problem) for check in found)))
    for group in dict.fromkeys(check.group for check in found):
        own = [check for check in found if check.group == group]
        failures = str(sum(bool(check.problem) for check in own))
        suite = ElementTree.SubElement(suites, "testsuite", name=group, tests=str(len(own)), failures=failures)
        for check in own:
            case = ElementTree.SubElement(suite, "testcase", classname=f"score.{group}", name=_clean(check.name))
            if check.problem:
                failure = ElementTree.SubElement(case, "failure", message=_clean(check.problem), type=check.exit.name)
                failure.text = _clean("\n".join(card.lines))
        output = ElementTree.SubElement(suite, "system-out")
        output.text = _clean("\n".join([*card.lines, *_lists(figures)]))
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _lists(figures: Figures) -> list[str]:
    return [
        f"{task.title}, {outcome}: {', '.join(ids)}"
        for task in figures.tasks
        for outcome in (Outcome.LOST, Outcome.GAINED)
        if (ids := task.outcomes[outcome])
    ]


def _clean(text: str) -> str:
    """A text without the control characters that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n" or (c >= " " and not 0xD800 <= ord(c) <= 0xDFFF and c < "\ufffe"))
