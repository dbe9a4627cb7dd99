"""Verdicts on reference solutions: ``python -m tests.benchmarks.verdicts --suite FILE`` (JSON lines as MBPP's).

Says how many of the suite's own solutions are judged to pass in the sandbox and how long a verdict takes, names those
that do not pass with the reason, and counts false passes among solutions that were broken by hand. Exit code 1 if a
target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from eval_prompts.judging.judge import judge
from eval_prompts.judging.suite import load_suite
from eval_prompts.judging.verdict import Verdict
from tuning.errors import UserError

BROKEN = Path(__file__).parents[1] / "eval_prompts" / "judging" / "broken_solutions.jsonl"
LEAST_PASSING = 0.9
MEDIAN_MILLISECONDS = 20.0


def answer(code: str) -> str:
    """A solution as a model gives it."""
    return f"```python\n{code}\n```"


def judged(code: str, tests: Sequence[str], setup: str) -> tuple[Verdict, float]:
    """The verdict on a solution, and its milliseconds."""
    began = time.perf_counter()
    verdict = judge(answer(code), tests=tests, setup=setup, stopped=True)
    return verdict, 1000 * (time.perf_counter() - began)


def why(verdict: Verdict) -> str:
    """What kept a solution from passing, in one line."""
    reasons = [check.reason for check in verdict.checks if check.passed is not True and check.reason]
    found = [verdict.syntax, verdict.runs_reason, *reasons, *verdict.missing]
    return f"{verdict.task}: {' '.join(next(filter(None, found), 'no reason is known').split())[:140]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Judges everything and prints the table; one judgement before, which imports what is needed, is not timed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.verdicts", description=__doc__)
    parser.add_argument("--suite", type=Path, required=True, help="JSON lines with text, code and test_list")
    options = parser.parse_args(arguments)
    try:
        items = load_suite(options.suite)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = [json.loads(line) for line in options.suite.read_text(encoding="utf-8").splitlines() if line.strip()]
    solutions = [row["code"].replace("\r\n", "\n") for row in rows]
    judged(solutions[0], items[0].task.tests, items[0].task.setup)

    found = [judged(code, item.task.tests, item.task.setup) for code, item in zip(solutions, items, strict=True)]
    times = sorted(milliseconds for _, milliseconds in found)
    missed = [(item.id, why(verdict)) for item, (verdict, _) in zip(items, found, strict=True) if not passes(verdict)]
    share = 1 - len(missed) / len(items)
    broken = [json.loads(line) for line in BROKEN.read_text(encoding="utf-8").splitlines()]
    wrong = [row["task_id"] for row in broken if passes(judged(row["broken"], row["test_list"], "")[0])]

    for ident, reason in missed:
        print(f"{ident:>6}  {reason}")
    cuts = statistics.quantiles(times, n=100)
    print(f"{options.suite.name}: {len(items) - len(missed)} of {len(items)} references pass ({share:.1%})")
    print(f"ms per verdict: median {cuts[49]:.1f}, p95 {cuts[94]:.1f}, worst {times[-1]:.1f}")
    print(f"broken by hand: {len(wrong)} of {len(broken)} pass {wrong or ''}".rstrip())
    return int(share < LEAST_PASSING or cuts[49] >= MEDIAN_MILLISECONDS or bool(wrong))


def passes(verdict: Verdict) -> bool:
    """Whether the answer does its task."""
    return verdict.task == "passes"


if __name__ == "__main__":
    sys.exit(main())
