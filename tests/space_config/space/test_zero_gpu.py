"""Answers that borrow a GPU, with a stand-in for the package ``spaces``: what passes its border is pickled, as there.

It runs on the CPU and in this process; the platform itself, its processes and its GPUs are not here to be tested.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import threading
import time
import types
from contextvars import ContextVar

import pytest

from eval_prompts.answers import Settings
from eval_prompts.rows import Ahead, Prompt
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from space_config.settings import read_settings
from space_config.space import zero_gpu
from space_config.space.zero_gpu import LONGEST_SECONDS, TAKEN, ZeroGpuLoader, seconds_for
from tuning.errors import UserError
from tuning.models.weights import Choices

QUESTIONS = ["What is a list?", "What is a tuple?"]
VISITOR = ContextVar("visitor", default="nobody")


class Platform:
    """Lends one GPU, to one request at a time. ``free`` lets them begin; with ``refuses`` none does, and with
    ``takes_away`` none goes on after its first tokens."""

    def __init__(self):
        self.free, self.refuses, self.takes_away = threading.Event(), False, False
        self.free.set()
        self.seconds, self.visitors, self.reports = [], [], 0
        self.given_back, self._gpu = threading.Semaphore(0), threading.Lock()

    def lend(self, function, duration):
        def borrowed(*arguments):
            arguments = pickle.loads(pickle.dumps(arguments))
            self.seconds.append(duration(*arguments))
            self.visitors.append(VISITOR.get())
            self.free.wait(60)
            if self.refuses:
                raise RuntimeError("no GPU was available")
            work = function(*arguments)
            self._gpu.acquire()
            try:
                for told in work:
                    yield pickle.loads(pickle.dumps(told))
                    if self.takes_away and any(ids for ids, *_ in told):
                        raise RuntimeError("GPU task aborted")
            finally:
                work.close()
                self._gpu.release()
                self.given_back.release()

        return borrowed

    def startup(self):
        self.reports += 1


@pytest.fixture
def platform(monkeypatch):
    platform = Platform()
    spaces, zero = types.ModuleType("spaces"), types.ModuleType("spaces.zero")
    spaces.GPU = lambda duration: lambda function: platform.lend(function, duration)
    spaces.zero, zero.startup = zero, platform.startup
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setitem(sys.modules, "spaces.zero", zero)
    monkeypatch.setattr(zero_gpu, "DEVICE", "cpu")
    yield platform
    platform.free.set()
    if zero_gpu._loaded is not None:
        zero_gpu._loaded[1].close()
        zero_gpu._loaded = None


@pytest.fixture
def lens(platform, tiny_model_path, tiny_adapter_path):
    with Lens(
        ZeroGpuLoader(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu", precision="fp32"))
    ) as lens:
        lens.start()
        lens.wait_ready(60)
        yield lens


def texts(answers):
    return [(answer.side, answer.index, answer.text, answer.tokens, answer.state) for answer in answers]


def test_the_lent_gpu_answers_as_the_models_do_for_the_visitor_who_asked(
    lens, platform, tiny_model_path, tiny_adapter_path
):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu", precision="fp32")) as plain:
        plain.start()
        expected = plain.ask(QUESTIONS, Settings(max_new_tokens=20)).result()
    token = VISITOR.set("ann")
    stream = lens.ask(QUESTIONS, Settings(max_new_tokens=20))
    VISITOR.reset(token)
    answers = stream.result()
    assert texts(answers) == texts(expected)
    assert all(answer.first_token_seconds > 0 and answer.seconds >= 0 for answer in answers)
    assert platform.visitors == ["ann"]
    assert platform.reports == 1
    assert lens.status().device.startswith("ZeroGPU")


def test_the_slot_is_as_long_as_rows_and_tokens_take_and_never_longer_than_is_lent(lens, platform):
    lens.ask(QUESTIONS[:1], Settings(max_new_tokens=50)).result()
    lens.ask(QUESTIONS * 20, Settings(max_new_tokens=50)).result()
    short, long = platform.seconds
    assert short < long < LONGEST_SECONDS
    request = types.SimpleNamespace(questions=QUESTIONS, sides=("base",), settings=Settings(max_new_tokens=4096))
    assert seconds_for(request) == LONGEST_SECONDS


@pytest.mark.parametrize("followed", [True, False])
def test_the_models_own_generation_settings_are_followed_there_as_here(
    platform, tiny_model_path, tiny_adapter_path, tmp_path, followed
):
    folder = shutil.copytree(tiny_model_path, tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"repetition_penalty": 5.0}))
    made = {"device": "cpu", "precision": "fp32", "choices": Choices(generation_defaults=followed)}
    answers = {}
    for kind in (LocalLoader, ZeroGpuLoader):
        local = LocalLoader(str(folder), str(tiny_adapter_path), **made)
        with Lens(local if kind is LocalLoader else ZeroGpuLoader(local)) as lens:
            lens.start()
            lens.wait_ready(60)
            answers[kind] = texts(lens.ask(QUESTIONS, Settings(max_new_tokens=20)).result())
            assert ("settings are followed" in "".join(lens.status().notes)) == followed
    assert answers[ZeroGpuLoader] == answers[LocalLoader]
    with Lens(LocalLoader(str(folder), str(tiny_adapter_path), device="cpu", precision="fp32")) as plain:
        plain.start()
        unchanged = texts(plain.ask(QUESTIONS, Settings(max_new_tokens=20)).result())
    assert (answers[LocalLoader] == unchanged) != followed
    assert len(platform.visitors) == 1, "the stand-in lent no GPU"


def test_where_no_gpu_is_lent_the_cpu_answers(lens, platform):
    lent = lens.ask(QUESTIONS, Settings(max_new_tokens=8)).result()
    platform.refuses = True
    assert texts(lens.ask(QUESTIONS, Settings(max_new_tokens=8)).result()) == texts(lent)


def test_why_an_answer_ended_is_told_there_as_here(lens, platform):
    def said(text, after=None):
        return Prompt(text[:9], ({"role": "user", "content": text},), after=after)

    full, _, failed, _ = lens.ask([said("w" * 400), said("And? " * 90, after=0)], Settings(max_new_tokens=400)).result()
    assert (full.state, full.full) == ("capped", True)
    assert (failed.state, "tokens long; this model holds 512" in failed.problem) == ("failed", True)
    assert len(platform.visitors) == 1, "the stand-in lent no GPU"


def test_a_gpu_taken_away_in_the_middle_is_said(lens, platform):
    platform.takes_away = True
    stream = lens.ask(QUESTIONS * 16, Settings(max_new_tokens=200))
    with pytest.raises(UserError, match=TAKEN):
        stream.result()
    platform.takes_away = False
    assert lens.ask(QUESTIONS, Settings(max_new_tokens=4)).result()[0].done


def test_who_stops_need_not_wait_for_a_gpu_and_gives_it_back(lens, platform):
    platform.free.clear()
    first, second = (lens.ask(QUESTIONS, Settings(max_new_tokens=400)) for _ in range(2))
    assert (first.ahead, second.ahead) == (Ahead(), Ahead(4, 1))
    assert lens.status().queued == 8
    first.cancel()
    assert {answer.state for answer in first.result()} == {"cancelled"}
    assert second.ahead == Ahead()
    second.cancel()
    platform.free.set()
    for _ in range(2):
        assert platform.given_back.acquire(timeout=60)
    assert {answer.state for answer in second.result()} == {"cancelled"}
    until = time.monotonic() + 60
    while (lens.status().answering, lens.status().queued) != (0, 0):  # other threads may be a moment behind
        assert time.monotonic() < until
        time.sleep(0.01)


def test_another_adapter_answers_from_the_next_request_on(lens, tiny_adapter_path):
    before = lens.ask(QUESTIONS, Settings(max_new_tokens=8)).result()
    lens.reload(str(tiny_adapter_path), str(tiny_adapter_path))
    after = lens.ask(QUESTIONS, Settings(max_new_tokens=8)).result()
    assert [answer.text for answer in before if answer.side == "tuned"] == [
        answer.text for answer in after if answer.side == "base"
    ]
    lens.reload(None)
    with pytest.raises(UserError, match="No adapter is loaded"):
        lens.ask(QUESTIONS)


def test_what_the_lent_process_refuses_is_said_in_its_words(lens):
    with pytest.raises(UserError, match="tokens long; this model holds 512"):
        lens.ask(["word " * 400]).result()


def test_a_platform_that_does_not_take_the_app_leaves_it_to_the_cpu(lens, platform, monkeypatch, caplog):
    def startup():
        raise RuntimeError("not found")

    monkeypatch.setattr(sys.modules["spaces.zero"], "startup", startup)
    Lens(ZeroGpuLoader(LocalLoader("nothing/here", None))).start()
    assert "so the CPU answers" in caplog.text


def test_the_app_takes_this_way_on_zero_gpu_alone(platform, monkeypatch):
    assert type(read_settings([]).lens().loader) is LocalLoader
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert type(read_settings([]).lens().loader) is ZeroGpuLoader
