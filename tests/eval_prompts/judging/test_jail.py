"""The opt-in jail: code that needs CPython runs, and reaches nothing."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.judging.outcome import Opaque
from eval_prompts.judging.sandbox import jail, jail_child, seccomp
from tests.eval_prompts.judging.hostile import CONTAINED, ENVIRONMENT
from tuning.errors import UserError

needs_jail = pytest.mark.skipif(bool(jail.unavailable()), reason=f"no jail here: {jail.unavailable()}")

simple_values = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False)
)  # fmt: skip
plain_values = st.recursive(
    simple_values,
    lambda parts: st.lists(parts) | st.tuples(parts, parts) | st.dictionaries(st.text() | st.integers(), parts),
    max_leaves=20,
)


def run(source, typing=None, seconds=1.5):
    with jail.Jail(seconds) as session:
        return session.run(source, typing)


def test_a_jail_that_cannot_be_entered_leaves_its_turn_to_the_next(monkeypatch):
    def explode(*_):
        raise OSError("no room for temporary files")

    turns = jail._turn._value
    monkeypatch.setattr(jail.tempfile, "TemporaryFile", explode)
    for _ in range(turns + 1):  # the last would wait for ever
        with pytest.raises(OSError, match="no room"), jail.Jail(1.0):
            pass
    assert jail._turn._value == turns


@given(plain_values)
def test_plain_data_survives_the_pipe(value):
    assert jail_child.decode(json.loads(json.dumps(jail_child.encode(value)))) == value


class _Claims(int):
    def __int__(self):
        return 120

    __abs__ = __index__ = __int__


class _Pretends(list):
    def __iter__(self):
        return iter([120])


@pytest.mark.parametrize(("value", "held"), [(_Claims(0), 0), ([_Claims(1)], [1]), (_Pretends([0]), [0]), (True, True)])
def test_a_value_crosses_as_what_it_holds_and_not_as_what_it_claims(value, held):
    assert jail_child.decode(jail_child.encode(value)) == held


def test_objects_do_not_cross():
    with pytest.raises(ValueError, match="opaque"):
        jail_child.decode(jail_child.encode([object()]))


@pytest.mark.parametrize("data", [["int"], ["int", "zz"], ["list", 3], ["dict", [1]], ["eval", "1"], [], {"a": 1}, 1.5])
def test_forged_data_is_refused(data):
    with pytest.raises((ValueError, TypeError)):
        jail_child.decode(data)


@needs_jail
def test_a_program_prints_and_its_functions_can_be_called():
    with jail.Jail() as session:
        assert session.run("def double(x):\n    print('called')\n    return 2 * x\nprint('ready')").printed == "ready\n"
        outcome = session.evaluate("double(x)", {"x": [1, {"a": (2.5, None)}]})
    assert outcome.value == [1, {"a": (2.5, None)}] * 2
    assert outcome.printed == "called\n"


@needs_jail
def test_numpy_runs_and_its_arrays_come_back_as_lists():
    pytest.importorskip("numpy")
    with jail.Jail() as session:
        assert session.run("import numpy as np").ok
        assert session.evaluate("np.eye(2)").value == [[1.0, 0.0], [0.0, 1.0]]
        assert session.evaluate("np.int64(3)").value == 3


@needs_jail
def test_input_is_typed():
    outcome = run("print(int(input('radius? ')) + 1)", lambda prompt: "41")
    assert outcome.printed == "radius? 42\n"
    assert "more input" in run("input()").reason


@needs_jail
@pytest.mark.parametrize("name", CONTAINED)
def test_hostile_programs_are_contained(name):
    outcome = run(CONTAINED[name])
    if outcome.ok:
        assert name in ("fork bomb that ignores refusals", "signals the parent", "shell")
    assert "out" not in outcome.printed.split()
    assert len(outcome.printed) <= 70_000


@needs_jail
def test_nothing_of_a_jail_outlives_it():
    with jail.Jail(seconds=1) as session:
        group = session.group
        session.run("import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()")
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


@needs_jail
def test_the_environment_and_the_files_are_out_of_reach(monkeypatch, tmp_path):
    monkeypatch.setenv("LENS_SECRET", "hidden")
    (tmp_path / "private.txt").write_text("hidden")
    assert "hidden" not in run(ENVIRONMENT).printed
    outcome = run(f"print(open({str(tmp_path / 'private.txt')!r}).read())")
    assert outcome.state == "raised"
    assert run("import os\nprint(os.listdir(os.path.expanduser('~')), os.getuid())").printed.endswith("65534\n")


@needs_jail
def test_only_scratch_space_is_writable_and_little_of_it():
    assert run("open('/tmp/x', 'w').write('a' * 1000)").ok
    assert run("open('/tmp/x', 'w').write('a' * (16 << 20))").state == "raised"
    fill = "for i in range(100):\n    open(f'/tmp/{i}', 'w').write('a' * (4 << 20))"
    assert run(fill).state == "raised"
    for place in ("/x", "/usr/x", "/dev/x", "/dev/shm/x", "/proc/x", "/jail.py", sys.prefix + "/x"):
        assert run(f"open({place!r}, 'a')").state == "raised"


@needs_jail
@pytest.mark.skipif(platform.machine() not in seccomp.ARCHITECTURES, reason="no filter for this machine")
def test_threads_start_but_processes_do_not():
    assert (
        run("import threading\nt = threading.Thread(target=print, args=('t',))\nt.start()\nt.join()").printed == "t\n"
    )
    assert "BlockingIOError" in run("import os\nos.fork()").reason
    assert "BlockingIOError" in run("import subprocess, sys\nsubprocess.run([sys.executable, '-c', '1'])").reason
    assert (
        "PermissionError"
        in run("import os\nos.unshare(0)" if hasattr(os, "unshare") else "raise PermissionError").reason
    )


@needs_jail
def test_a_crash_of_the_interpreter_is_an_outcome():
    outcome = run("import ctypes\nctypes.string_at(0)")
    assert (outcome.state, outcome.reason) == ("limit", "was stopped (SIGSEGV)")


@needs_jail
def test_forged_replies_are_data_at_most():
    forge = (
        "import os\nfor fd in range(3, 20):\n    try:\n        os.write(fd, b'not json\\n')\n    except OSError: pass"
    )
    assert not run(forge).ok
    forge = forge.replace("not json", '{"state": "ok", "value": ["opaque", "A"], "printed": 3, "asked": "many"}')
    assert not run(forge).ok


@needs_jail
def test_objects_are_opaque():
    with jail.Jail() as session:
        session.run("class A:\n    def __eq__(self, other): return True")
        assert session.evaluate("A()").value == Opaque("an object that is no plain value")


@needs_jail
def test_it_ends_in_time():
    start = time.monotonic()
    assert run("while True: pass", seconds=0.5).state == "limit"
    assert time.monotonic() - start < 10


def test_refused_where_there_is_no_bubblewrap(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    jail.unavailable.cache_clear()
    try:
        assert "not installed" in jail.unavailable()
        with pytest.raises(UserError, match="jail cannot be used"):
            jail.open_jail()
    finally:
        jail.unavailable.cache_clear()


def test_refused_where_bubblewrap_may_do_nothing(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    jail.unavailable.cache_clear()
    try:
        assert "No permissions" in jail.unavailable()
    finally:
        jail.unavailable.cache_clear()


def test_the_child_needs_the_standard_library_only():
    code = f"import runpy, sys; runpy.run_path({jail_child.__file__!r}); assert 'eval_prompts' not in sys.modules"
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_filter_is_made_of_whole_instructions(machine):
    assert len(seccomp.program(machine)) % 8 == 0
    assert seccomp.program("unknown") == b""


@needs_jail
def test_halves_of_characters_do_not_reach_the_page():
    with jail.Jail() as session:
        outcomes = [session.run("print(chr(0xD800))"), session.run("raise ValueError(chr(0xDFFF))")]
    for outcome in outcomes:
        assert "?" in (outcome.printed + outcome.reason).encode().decode()


@needs_jail
def test_the_end_of_what_is_typed_is_an_error_of_the_program_and_not_the_jails():
    with jail.Jail() as session:
        assert session.run("while True: input()", lambda prompt: "x").ran_out
        assert session.evaluate("1 + 1").value == 2
