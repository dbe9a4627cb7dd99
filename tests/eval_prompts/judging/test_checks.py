"""The probes' behavioural checks: right answers of any shape pass, wrong ones fail for the reason that is told."""

from __future__ import annotations

import ast

import pytest

from eval_prompts.judging.judge import judge
from eval_prompts.judging.probes import checks
from eval_prompts.judging.probes.program import Program, Typist
from eval_prompts.judging.sandbox import jail
from tests.eval_prompts.judging.probe_answers import ASKS_ON, NOT_RUN, RIGHT, WRONG


def fenced(source):
    return f"Here it is:\n```python\n{source}\n```\n"


def cases(table):
    return [
        pytest.param(probe, case, id=f"{probe}-{at}") for probe, all_ in table.items() for at, case in enumerate(all_)
    ]


@pytest.mark.parametrize(("probe", "source"), cases(RIGHT))
def test_right_answers_pass(probe, source):
    verdict = judge(fenced(source), probe_id=probe)
    assert verdict.task == "passes", verdict.checks
    assert verdict.runs == "yes"


@pytest.mark.parametrize(("probe", "source"), cases(ASKS_ON))
def test_right_answers_that_ask_again_and_again_pass(probe, source):
    assert judge(fenced(source), probe_id=probe).task == "passes"


@pytest.mark.parametrize(("probe", "case"), cases(WRONG))
def test_wrong_answers_fail_for_the_reason_told(probe, case):
    source, words = case
    verdict = judge(fenced(source), probe_id=probe)
    assert verdict.task == "fails", verdict.checks
    assert words in verdict.task_reason


@pytest.mark.parametrize(("probe", "source"), cases(NOT_RUN))
def test_what_the_sandbox_lacks_is_not_run(probe, source):
    verdict = judge(fenced(source), probe_id=probe)
    assert (verdict.task, verdict.runs) == ("not run", "not run")


@pytest.mark.skipif(bool(jail.unavailable()), reason=f"no jail here: {jail.unavailable()}")
@pytest.mark.parametrize(
    ("probe", "source"),
    [("fibonacci", NOT_RUN["fibonacci"][0]), ("average", NOT_RUN["average"][0]), ("knn", NOT_RUN["knn"][1])],
)
def test_the_jail_runs_what_the_sandbox_lacks(probe, source):
    if "numpy" in source:
        pytest.importorskip("numpy")
    verdict = judge(fenced(source), probe_id=probe, jail=True)
    assert (verdict.task, verdict.where) == ("passes", "jail"), verdict.checks


@pytest.mark.parametrize("probe", RIGHT)
@pytest.mark.parametrize(
    "text", ["", "I cannot do that.", "```python\n```", "```python\ndef f(:\n```", "```python\npass\n```"]
)
def test_no_program_passes_no_probe(probe, text):
    assert judge(text, probe_id=probe).task == "fails"


@pytest.mark.parametrize("probe", RIGHT)
def test_no_probe_is_passed_by_the_answers_to_another(probe):
    others = [RIGHT[other][0] for other in RIGHT if other != probe]
    assert [judge(fenced(source), probe_id=probe).task for source in others] == ["fails"] * len(others)


@pytest.mark.parametrize("line", ["0 1 1 2 3 5 8", "0", "0 1 " * 50, "1 1 2 3 5 8 13 22"])
def test_the_series_is_looked_for_in_a_time_that_grows_as_the_text(monkeypatch, line):
    """Counts the comparisons with the series instead of seconds."""

    class Counted(list):
        compared = 0

        def __getitem__(self, at):
            Counted.compared += isinstance(at, int)
            return super().__getitem__(at)

    def work(times):
        Counted.compared = 0
        checks._series(f"{line}\n" * times)
        return Counted.compared

    monkeypatch.setattr(checks, "FIBONACCI", Counted(checks.FIBONACCI))
    assert work(2000) <= 4.5 * work(500)


def test_a_prompt_of_one_endless_word_is_looked_at_in_part():
    program = Program("input('a' * 60000)", ast.parse("input('a' * 60000)"), lambda: pytest.fail("nothing is run"))
    assert Typist(program, [1, 2], 3)("a" * 200_000) in {"1", "2", "3"}
