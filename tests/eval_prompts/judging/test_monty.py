"""Untrusted code in the Monty sandbox: it computes, and reaches nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from eval_prompts.judging.outcome import Opaque, plain
from eval_prompts.judging.sandbox import monty
from eval_prompts.judging.sandbox.monty import Limits, MontySandbox
from tests.eval_prompts.judging.hostile import CONTAINED, ENVIRONMENT

SHORT = Limits(seconds=0.3, memory_mb=64)


def run(source, typing=None, limits=SHORT):
    with MontySandbox(limits) as box:
        return box.run(source, typing)


def test_a_program_prints_and_its_functions_can_be_called():
    with MontySandbox() as box:
        assert box.run("def double(x):\n    print('called')\n    return 2 * x\nprint('ready')").printed == "ready\n"
        outcome = box.evaluate("double(x)", {"x": [1, "a"]})
    assert outcome.ok
    assert outcome.value == [1, "a", 1, "a"]
    assert outcome.printed == "called\n"


def test_sessions_share_nothing():
    run("secret = 1")
    assert "secret" in run("print(secret)").reason


def test_input_is_typed_and_its_prompt_printed():
    outcome = run("name = input('Who? ')\nprint('Hello', name)", lambda prompt: "you" if prompt == "Who? " else "")
    assert outcome.printed == "Who? Hello you\n"
    assert outcome.asked == 1


def test_input_ends():
    outcome = run("input('more? ')")
    assert (outcome.state, outcome.printed) == ("raised", "more? ")
    assert "more input" in outcome.reason


@pytest.mark.parametrize("name", CONTAINED)
def test_hostile_programs_are_contained(name, tmp_path):
    outcome = run(CONTAINED[name])
    assert not outcome.ok
    assert "out" not in outcome.printed.split()
    assert len(outcome.printed) <= 70_000
    assert run("print(1 + 1)").printed == "2\n"


def test_the_environment_is_out_of_reach(monkeypatch):
    monkeypatch.setenv("LENS_SECRET", "hidden")
    outcome = run(ENVIRONMENT)
    assert outcome.state == "lacking"
    assert "hidden" not in outcome.printed + outcome.reason


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to look at the worker")
def test_the_worker_has_no_environment_at_all():
    with MontySandbox() as box:
        assert Path(f"/proc/{box.worker}/environ").read_bytes() == b""


@pytest.mark.parametrize(
    ("source", "state", "words"),
    [
        ("1 / 0", "raised", "ZeroDivisionError"),
        ("x = 1\n\nraise ValueError('bad')", "raised", "ValueError: bad (line 3)"),
        ("def f(:", "raised", "does not parse"),
        ("undefined_name", "raised", "undefined_name"),
        ("import numpy", "lacking", "numpy"),
        ("import socket", "lacking", "socket"),
        ("def f():\n    yield 1", "lacking", "generators"),
        ("class A(dict): pass", "lacking", "inheritance"),
        ("class A:\n    def __len__(self): return 1", "lacking", "__len__"),
        ("class A:\n    @property\n    def x(self): return 1", "lacking", "decorated"),
        ("open('numbers.txt')", "lacking", "file"),
        ("x = bytearray(3)", "lacking", "bytearray"),
        ("import math\nmath.sqroot(4)", "raised", "sqroot"),
        ("from collections import OrderedDict", "lacking", "OrderedDict"),
        ("from collections import Odd", "raised", "Odd"),
        ("[].push(1)", "raised", "push"),
        ("exit()", "exited", "exit code 0"),
        ("import sys\nsys.exit(3)", "exited", "3"),
        ("import os\nos._exit(0)", "exited", "0"),
        ("raise SystemExit", "exited", "0"),
        ("while True: pass", "limit", "too long"),
        ("x = 'a' * 10**10", "limit", "memory"),
        ("while True: print('x' * 1000)", "limit", "printed more"),
        ("raise KeyboardInterrupt", "raised", "KeyboardInterrupt"),
        ("raise NotImplementedError", "raised", "NotImplementedError"),
    ],
)
def test_every_end_is_told_apart(source, state, words):
    outcome = run(source)
    assert outcome.state == state, outcome.reason
    assert words in outcome.reason


def test_after_a_limit_the_session_is_over():
    with MontySandbox(SHORT) as box:
        assert box.run("while True: pass").state == "limit"
        assert box.evaluate("1 + 1").state == "limit"


def test_many_steps_have_one_limit_together():
    with MontySandbox(Limits(seconds=1.0, total_seconds=0.2)) as box:
        box.run("def f():\n    for _ in range(1_000_000): pass")
        outcomes = [box.evaluate("f()") for _ in range(50)]
    assert outcomes[0].ok
    assert outcomes[-1].state == "limit"


def test_a_worker_that_hangs_is_killed_and_replaced():
    outcome = run("import math\nmath.isqrt(10 ** 6_000_000)", limits=Limits(seconds=0.2))
    assert outcome.state == "limit"
    assert run("print('next')").printed == "next\n"


def test_sessions_run_side_by_side_while_one_loops():
    looping = threading.Thread(target=run, args=("while True: pass",), kwargs={"limits": Limits(seconds=2.0)})
    looping.start()
    done = [run(f"print({number} * 2)").printed for number in range(20)]
    assert looping.is_alive()
    looping.join()
    assert done == [f"{number * 2}\n" for number in range(20)]


def test_more_sessions_than_workers_wait_for_their_turn():
    results = []
    threads = [
        threading.Thread(target=lambda number=number: results.append(run(f"print({number})").printed))
        for number in range(3 * monty.MAX_WORKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(f"{number}\n" for number in range(3 * monty.MAX_WORKERS))


def test_workers_start_again_after_close():
    run("1")
    monty.close()
    assert run("print('again')").printed == "again\n"


class Odd:
    pass


@pytest.mark.parametrize(
    "value", [Odd(), [Odd()], {"a": (1, Odd())}, len, type("L", (list,), {})([1]), {1: {2: Odd()}}]
)
def test_only_plain_data_is_taken(value):
    assert isinstance(plain(value), Opaque)


def test_plain_data_is_taken_as_it_is():
    value = [1, 2.5, "a", b"b", None, True, 1j, (1, 2), {1, 2}, frozenset([3]), {"k": [1]}]
    assert plain(value) == value
    assert [type(part) for part in plain(value)] == [type(part) for part in value]


def test_values_that_would_take_forever_to_compare_are_not_taken():
    shared = [1]
    for _ in range(60):
        shared = [shared, shared]
    assert isinstance(plain(shared), Opaque)
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    assert isinstance(plain(deep), Opaque)
