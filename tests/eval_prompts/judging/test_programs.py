"""Three hundred ordinary programs: the judge agrees with this Python about each, or says that it did not run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.examine import examine
from eval_prompts.judging.syntax import syntax_tree
from eval_prompts.judging.undefined_names import missing_names

ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "programs.jsonl").read_text(encoding="utf-8").splitlines()
]
PROGRAMS = [row["program"] for row in ROWS]
RUNNER = """
import contextlib, io, json, sys, os, tempfile
os.chdir(tempfile.mkdtemp())
results = []
for source in json.load(sys.stdin):
    out, kind = io.StringIO(), ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            exec(compile(source, "<answer>", "exec"), {"__name__": "__main__", "__file__": "answer.py"})
        except SystemExit as error:
            kind = "" if error.code in (None, 0) else "SystemExit"
        except BaseException as error:
            kind = type(error).__name__
    results.append([kind, out.getvalue()])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def in_python():
    """How each program ends in this Python ('' or the error's class), and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(PROGRAMS), capture_output=True, text=True, check=True
    )
    return dict(zip(PROGRAMS, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_they_are_many_and_of_many_kinds():
    assert len(set(PROGRAMS)) == len(PROGRAMS) > 300
    assert len({row["kind"] for row in ROWS}) >= 10


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_judge_agrees_or_says_that_it_did_not_run(program, in_python):
    kind, printed = in_python[program]
    verdict = examine(f"```python\n{program}\n```", Assignment(), stopped=True)
    assert verdict.parses
    if verdict.runs == "yes":
        assert (kind, verdict.output) == ("", printed)
    elif verdict.runs == "no":
        assert kind, f"this Python runs it: {verdict.runs_reason}"


def test_most_of_them_are_run():
    verdicts = [examine(f"```python\n{program}\n```", Assignment()) for program in PROGRAMS]
    assert sum(verdict.runs != "not run" for verdict in verdicts) > 0.7 * len(verdicts)


def test_no_name_of_a_program_that_runs_is_called_missing(in_python):
    for program in PROGRAMS:
        tree = syntax_tree(program)
        if not in_python[program][0] and tree is not None:
            assert missing_names(program, tree) == [], program
