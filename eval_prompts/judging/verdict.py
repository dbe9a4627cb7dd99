"""What was found about an answer, and how it is said: badges for one, counts for many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from eval_prompts.judging.outcome import Check
from eval_prompts.judging.repetition import THRESHOLD
from eval_prompts.judging.undefined_names import Missing

Runs = Literal["yes", "no", "not run"]
Task = Literal["passes", "fails", "not run", "none"]
BadgeState = Literal["good", "bad", "neutral"]
COUNTED = (
    "answers", "code", "parses", "unknown_names", "runs", "passes", "fails", "not_run", "ended", "capped", "repeats",
)  # fmt: skip


@dataclass(frozen=True)
class Badge:
    """One plainly worded finding: ``label`` is shown, ``reason`` and ``output`` (what the code printed) on a click."""

    kind: str
    label: str
    state: BadgeState
    reason: str = ""
    output: str = ""


@dataclass(frozen=True)
class Verdict:
    """All that was found about one answer. None stands for "does not apply" or "not known yet".

    ``syntax`` says what is wrong with the syntax, or what was left out; ``needs`` names the Python version that reads
    it, where this one does not. ``defines_only`` says that running the program does nothing but define.
    ``judging_failed``: nothing is known, by a fault of the judge's.
    """

    code: str = ""
    parses: bool | None = None
    syntax: str = ""
    needs: str = ""
    missing: tuple[Missing, ...] = ()
    runs: Runs = "not run"
    runs_reason: str = ""
    output: str = ""
    task: Task = "none"
    checks: tuple[Check, ...] = ()
    defines_only: bool = False
    where: Literal["", "sandbox", "jail"] = ""
    stopped: bool | None = None
    repetition: float = 0.0
    final: bool = True
    judging_failed: bool = False

    @property
    def task_reason(self) -> str:
        """Why the task is not passed: the first check that failed, else the first that could not be tried."""
        undone = [check for check in self.checks if not check.passed]
        failed = [check for check in undone if check.passed is False] or undone
        return f"{failed[0].label}: {failed[0].reason}".rstrip(": ") if failed else ""

    @property
    def badges(self) -> list[Badge]:
        """The findings as badges, in the order of reading; no badge for what does not apply."""
        if self.judging_failed:
            reason = "The judging itself failed, which says nothing of the answer; the server's log says why."
            badges = [
                Badge("judging", "failed to judge", "neutral", reason),
                self._ended_badge(),
                self._repeats_badge(),
            ]
            return [badge for badge in badges if badge]
        found = [self._code_badge(), self._parses_badge(), self._names_badge(), self._runs_badge(), self._task_badge()]
        found += [self._ended_badge(), self._repeats_badge()]
        return [badge for badge in found if badge]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        """The verdict whose ``dataclasses.asdict`` went through JSON."""
        missing = tuple(Missing(**item) for item in data["missing"])
        checks = tuple(Check(**item) for item in data["checks"])
        return cls(**{**data, "missing": missing, "checks": checks})

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON data, badges included."""
        return {**asdict(self), "task_reason": self.task_reason, "badges": [asdict(badge) for badge in self.badges]}

    def _code_badge(self) -> Badge | None:
        if self.code or not self.final:
            return None
        return Badge("code", "no code", "bad", "The answer holds no Python code.")

    def _parses_badge(self) -> Badge | None:
        if self.needs:
            return Badge("parses", f"needs {self.needs}", "neutral", self.syntax)
        if self.parses is None:
            return Badge("parses", "cut off", "neutral", self.syntax) if self.syntax else None
        if self.parses:
            return Badge("parses", "parses" if self.final else "parses so far", "good", self.syntax)
        return Badge("parses", "syntax error", "bad", self.syntax)

    def _names_badge(self) -> Badge | None:
        if not self.parses or not self.final:
            return None
        if not self.missing:
            return Badge("names", "known names", "good", "Every name that can be looked up exists.")
        label = self.missing[0].name if len(self.missing) == 1 else f"{len(self.missing)} names"
        reason = "\n".join(f"Line {item.line}: {item.reason}." for item in self.missing)
        return Badge("names", f"unknown: {label}" if len(self.missing) == 1 else f"{label} unknown", "bad", reason)

    def _runs_badge(self) -> Badge | None:
        if not (self.parses or self.needs) or not self.final:
            return None
        if self.runs == "yes" and self.defines_only:
            reason = "It defines what it holds and calls none of it, so nothing else has run."
            return Badge("runs", "defines only", "neutral", reason, self.output)
        if self.runs == "yes" and self.missing:
            reason = "What ran, ran without an error; the lines with unknown names did not run."
            return Badge("runs", "runs in part", "neutral", reason, self.output)
        labels: dict[str, tuple[str, BadgeState]] = {"yes": ("runs", "good"), "no": ("does not run", "bad")}
        label, state = labels.get(self.runs, ("not run", "neutral"))
        return Badge("runs", label, state, _sentence(self.runs_reason), self.output)

    def _task_badge(self) -> Badge | None:
        if self.task == "none" or not self.final:
            return None
        states: dict[str, BadgeState] = {"passes": "good", "fails": "bad"}
        label = {"passes": "does the task", "fails": "fails the task"}.get(self.task, "task not checked")
        signs = {True: "passed", False: "failed", None: "not tried"}
        lines = [
            f"{signs[check.passed]}: {check.label}{f' ({check.reason})' * bool(check.reason)}" for check in self.checks
        ]
        output = next((check.output for check in self.checks if check.output), "")
        return Badge("task", label, states.get(self.task, "neutral"), "\n".join(lines), output)

    def _ended_badge(self) -> Badge | None:
        if self.stopped is None:
            return None
        if self.stopped:
            return Badge("ended", "ended by itself", "good", "The model ended the answer.")
        return Badge("ended", "hit the cap", "bad", "The answer was cut off at the token cap.")

    def _repeats_badge(self) -> Badge | None:
        share = f"{self.repetition:.0%} of the answer says again what it said before"
        if self.repetition >= THRESHOLD:
            return Badge("repeats", "repeats itself", "bad", f"{share} (runs of 16 tokens).")
        return None


def summary(verdicts: Iterable[tuple[str, Verdict]]) -> dict[str, dict[str, int]]:
    """Counts per side: answers, and of them with code, parsing, with unknown names, running, passing and failing their
    task or not checked, ended, capped, repeating."""
    sides: dict[str, Counter[str]] = {}
    for side, verdict in verdicts:
        count = sides.setdefault(side, Counter(dict.fromkeys(COUNTED, 0)))
        count["answers"] += 1
        count["code"] += bool(verdict.code)
        count["parses"] += verdict.parses is True
        count["unknown_names"] += bool(verdict.missing)
        count["runs"] += verdict.runs == "yes"
        count["passes"] += verdict.task == "passes"
        count["fails"] += verdict.task == "fails"
        count["not_run"] += verdict.task == "not run"
        count["ended"] += verdict.stopped is True
        count["capped"] += verdict.stopped is False
        count["repeats"] += verdict.repetition >= THRESHOLD
    return {side: dict(count) for side, count in sides.items()}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
