"""The unexpected is loud: at each place where work goes on behind a page's back, an exception that nobody foresaw ends
in an error of the log with its traceback, a state that says so, and one sentence for those who wait."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from eval_prompts.answers import Answer, Settings
from eval_prompts.decoding.engine import BROKEN, FAULT, NO_MEMORY
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.process import JudgingProcess
from eval_prompts.scoring import plans
from eval_prompts.scoring import run as scoring_run
from eval_prompts.scoring.folder import State
from eval_prompts.scoring.subject import named_subject
from eval_prompts.serving import remote
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.serving.remote import RemoteLoader
from eval_prompts.showing import judges
from eval_prompts.tabs import compare_tab
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.choice import TaskChoice
from space_config.server.disk import UNKNOWN, Disk
from space_config.space.mirror import Mirror
from tuning import presets
from tuning import tab as train_tab
from tuning.errors import UserError
from tuning.exports import background
from tuning.exports.background import Exports
from tuning.runs import run as runs
from tuning.shared_tab import SERVER_FAULT, answered
from tuning.views.actions import Actions
from tuning.views.run_view import Watcher

LOADING_FAILED = LocalLoader.failed
SECRET = "a detail with /folders and names"


class Unforeseen(ArithmeticError):
    """What no code here catches by name."""


def explode(*_, **__):
    raise Unforeseen(SECRET)


def logged(caplog, words):
    """The one error-level record that says so, with the exception's own traceback."""
    records = [record for record in caplog.records if record.levelno == logging.ERROR and words in record.getMessage()]
    assert len(records) == 1
    assert records[0].exc_info[0] is Unforeseen
    assert SECRET in caplog.text
    return records[0]


def refusal(work):
    with pytest.raises(UserError) as refused:
        work()
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def lens(tiny_model_path, tiny_adapter_path):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu")) as lens:
        yield lens


def loaded(lens):
    lens.start()
    lens.wait_ready(60)
    return lens


@pytest.mark.parametrize(
    "place",
    [
        "tuning.models.weights.resolve",
        "tuning.models.device.pick_device",
        "eval_prompts.models.loading.load_sides",
        "eval_prompts.decoding.engine.Engine",
        "eval_prompts.decoding.choice.make_backend",
        "eval_prompts.serving.lens.Lens._take_up",
    ],
)
def test_the_loader(lens, monkeypatch, caplog, place):
    early = lens.ask(["Early"])
    monkeypatch.setattr(place, explode)
    lens.start()
    assert refusal(lambda: lens.wait_ready(60)) == LOADING_FAILED
    assert refusal(early.result) == LOADING_FAILED
    assert refusal(lambda: lens.ask(["Late"])) == LOADING_FAILED
    assert (lens.status().state, lens.status().message) == ("failed", LOADING_FAILED)
    logged(caplog, "Loading failed")


@pytest.mark.parametrize("place", ["connect", "RemoteModels"])
def test_the_loader_of_endpoints(monkeypatch, caplog, place):
    lens = Lens(RemoteLoader("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", tuned_model="b"))
    early = lens.ask(["Early"])
    if place != "connect":
        monkeypatch.setattr(remote, "connect", lambda name, *_: remote.Endpoint("http://127.0.0.1:9/v1", name))
    monkeypatch.setattr(remote, place, explode)
    lens.start()
    said = refusal(lambda: lens.wait_ready(60))
    assert refusal(early.result) == said
    assert lens.status().state == "failed"
    logged(caplog, "Loading failed")


def test_the_fast_decoder_when_it_is_tried(lens, monkeypatch, caplog):
    monkeypatch.setattr(PairDecoder, "advance", explode)
    assert any("Answered by the general decoder" in note for note in loaded(lens).status().notes)
    logged(caplog, "The decoder cannot compute this model")


def test_a_merge_by_peft(lens, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("eval_prompts.models.lora_linear.plain_factors", lambda _: None)
    monkeypatch.setattr("eval_prompts.models.peft_merge.load_and_merge", explode)
    lens.start()
    with pytest.raises(UserError, match=r"^The adapter .* cannot be merged: "):
        lens.wait_ready(60)
    assert lens.status().state == "failed"
    logged(caplog, "peft refused")


@pytest.mark.parametrize("place", ["enter", "advance"])
def test_a_step_of_the_decoder_fails_its_requests_alone(lens, monkeypatch, caplog, place):
    backend = loaded(lens).served.engine.backend
    with monkeypatch.context() as broken:
        broken.setattr(backend, place, explode)
        assert refusal(lens.ask(["One"]).result) == FAULT
    logged(caplog, "Answering failed")
    assert lens.status().state == "ready"
    assert lens.ask(["Two"], Settings(max_new_tokens=3)).result()[0].done


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), NO_MEMORY),
        (MemoryError(), NO_MEMORY),
        (ValueError("no such memory format"), FAULT),
        (UserError("The question is too long: shorten it."), "The question is too long: shorten it."),
    ],
)
def test_only_a_lack_of_memory_is_called_one(lens, monkeypatch, error, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(loaded(lens).served.engine.backend, "advance", fail)
    assert refusal(lens.ask(["One"]).result) == words


@pytest.mark.parametrize("place", ["_admit", "_drop_cancelled", "_step", "_change_backend_when_idle"])
def test_the_decode_thread_itself(lens, monkeypatch, caplog, place):
    engine = loaded(lens).served.engine
    running = lens.ask(["Long"], Settings(max_new_tokens=400))
    assert running.wait(0, timeout=0) is False
    monkeypatch.setattr(engine, place, explode)
    # Refused at once or when the thread fails, as it happens: in the same words.
    assert refusal(lambda: lens.ask(["Late"], Settings(max_new_tokens=400)).result()) == BROKEN
    assert refusal(running.result) == BROKEN
    engine._thread.join(60)
    assert lens.status().state == "failed"
    assert refusal(lambda: lens.ask(["After"])) == BROKEN
    logged(caplog, "decode thread")


@pytest.mark.parametrize("place", ["in the judging process", "on the way to it", "around it"])
def test_a_judge_worker(monkeypatch, caplog, place):
    """Its state is known, its log has the traceback, and the page stops waiting and says that it failed."""
    task, answer = python_task(), Answer("base", 0, "Write f", text="```python\nx = 1\n```", state="ended")
    if place == "in the judging process":  # assertions are texts: a number among them is what nobody foresaw
        monkeypatch.setattr("eval_prompts.tasks.verdicts.assignment", lambda *_: Assignment(tests=(3,)))
    else:
        broken = {"on the way to it": (JudgingProcess, "_write"), "around it": (judges, "judge_answer")}
        monkeypatch.setattr(*broken[place], explode)
    workers = judges.Judges(workers=1)
    verdicts = judges.Verdicts(workers, task, [task.own_question("Write f")])
    verdicts.begin(answer)
    assert verdicts.wait(60)
    workers.close()
    shown = verdicts.of(answer)
    assert not shown["checking"]
    assert "failed to judge" in [badge["label"] for badge in shown["badges"]]
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in records] == ["An answer could not be judged"]
    assert records[0].exc_info
    assert ("has no attribute 'split'" if place == "in the judging process" else SECRET) in caplog.text
    assert SECRET not in str(shown)


def test_an_exporter(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    run = SimpleNamespace(path=tmp_path / "run", name="run")
    exports, told = Exports(), threading.Event()
    for call in (lambda: exports.merge(run), lambda: exports.push(run, "ann/x", True)):
        caplog.clear()
        monkeypatch.setattr(background.helper_process, "follow", explode)
        monkeypatch.setattr(background.hub, "push", explode)
        monkeypatch.setattr(background.hub, "token", lambda: "hf_x")
        call()
        while exports._lock.locked():
            told.wait(0.01)
        assert exports.told(run) == {"state": "failed", "words": background.FAILED}
        logged(caplog, "The export of run run failed")


def test_the_mirror_goes_on_after_a_failure(caplog):
    calls = []

    def votes():
        calls.append(len(calls))
        explode()

    mirror = Mirror("ann/votes", votes, None, every_seconds=0.001)
    mirror.start()
    while len(calls) < 3:
        threading.Event().wait(0.001)
    mirror.close()
    assert "The votes were not mirrored" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info[0] is Unforeseen


def test_the_watch_on_the_disk(tmp_path, monkeypatch, caplog):
    disk = Disk(tmp_path, 1e9, 0)
    monkeypatch.setattr(disk, "look", explode)
    disk.problem()  # begins to look, in a thread that holds this lock until it has ended
    with disk._looking:
        assert disk.problem() == UNKNOWN
    logged(caplog, "could not be measured")
    assert Path(tmp_path).exists()


@pytest.mark.parametrize(
    "place", ["tuning.runs.run.Run.state", "tuning.views.run_fold.Fold.update", "tuning.runs.lock.current"]
)
def test_the_watch_on_training(tmp_path, monkeypatch, caplog, place):
    """A look that fails is told as such, and the next one is a look again."""
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    made = runs.create("smoke", presets.preset("smoke"))
    look = answered(train_tab.watching(Actions(Watcher(), lambda *_: None, lambda: ""))[0])
    with monkeypatch.context() as broken:
        broken.setattr(place, explode)
        assert look({}, gr.Request()) == {"error": SERVER_FAULT}
    logged(caplog, "look failed")
    assert look({}, gr.Request())["run"] == made.name


def test_the_header_tells_of_the_models_where_it_cannot_tell_what_trains(lens, caplog):
    with gr.Blocks() as page:
        compare_tab.build_header(lens, explode, lambda _: True, TaskChoice())
    header = next(block for block in page.blocks.values() if block.elem_id == "ll-header")
    view = header.status(None, gr.Request())
    assert (view["training"], view["state"]) == ("training: see the server's log", "loading")
    logged(caplog, "what trains could not be told")


@pytest.mark.parametrize("place", ["_submit", "_collect", "_write"])
def test_a_scoring(lens, tmp_path, monkeypatch, caplog, place):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    task = tmp_path / "letters.yaml"
    task.write_text("name: letters\nscore: [{contains: e}]\nsettings: {max_new_tokens: 2}\nquestions: [Say a]\n")
    subjects = [named_subject(str(task), lambda task: task.settings, None)]
    scoring = plans.new_scoring(subjects, loaded(lens).status())
    with monkeypatch.context() as broken:
        broken.setattr(scoring_run.Runner, place, explode)
        assert scoring_run.Runner(scoring, subjects, lens).run() == (State.FAILED, scoring_run.FAULT)
    assert scoring.state() == (State.FAILED, scoring_run.FAULT)
    logged(caplog, "Scoring failed")
    assert scoring_run.Runner(scoring, subjects, lens).run()[0] is State.FINISHED
