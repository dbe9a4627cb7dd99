"""The Lens: asking while loading, failing to load, one request per visitor, adapters swapped while it answers."""

from __future__ import annotations

import shutil
import threading

import pytest

from eval_prompts.answers import Settings
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.limits import Limits
from eval_prompts.serving.local import LocalLoader
from eval_prompts.stream import Stream
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.errors import UserError
from tuning.models.weights import Choices


@pytest.fixture
def lens(tiny_model_path, tiny_adapter_path):
    lens = Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu"))
    yield lens
    lens.close()


def test_a_question_asked_while_loading_is_answered_when_ready(lens):
    stream = lens.ask(["Early"], Settings(max_new_tokens=5))
    assert lens.status().state == "loading"
    assert {answer.state for answer in stream.answers} == {"waiting"}
    lens.start()
    assert all(answer.done for answer in stream.result())
    status = lens.status()
    assert status.state == "ready"
    assert status.base_is_base
    assert status.adapter.rank == 4
    assert status.memory_mb == round(lens.served.engine.backend.weight_bytes / 2**20)
    assert lens.served.engine.backend.weight_bytes > 10_000
    assert "path" not in status.to_dict()["adapter"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "/no/such/folder"}, "/no/such/folder"),
        ({"adapter": "/no/such/adapter"}, "/no/such/adapter"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_line(tiny_model_path, tiny_adapter_path, options, message):
    lens = Lens(LocalLoader(**({"model": str(tiny_model_path), "adapter": str(tiny_adapter_path)} | options)))
    early = lens.ask(["Early"])
    lens.start()
    with pytest.raises(UserError, match=message):
        lens.wait_ready(60)
    assert lens.status().state == "failed"
    assert "\n" not in lens.status().message
    with pytest.raises(UserError, match=message):
        early.result()
    with pytest.raises(UserError, match=message):
        lens.ask(["Late"])


def test_an_unexpected_fault_while_loading_shows_no_traceback(lens, monkeypatch):
    import eval_prompts.models.loading as loading

    def explode(*arguments, **options):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(loading, "load_sides", explode)
    lens.start()
    with pytest.raises(UserError, match="Loading failed") as failure:
        lens.wait_ready(60)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("question", ["", " \n ", "a\x00b", "x" * 50_000])
def test_questions_that_cannot_be_asked_are_refused(lens, question):
    with pytest.raises(UserError):
        lens.ask([question])


def test_a_visitor_has_one_request_at_a_time_and_others_are_free(tiny_model_path, tiny_adapter_path):
    few = Settings(max_new_tokens=2)
    limits = Limits(previous_seconds=0)
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu"), limits=limits) as lens:
        lens.start()
        lens.wait_ready(60)
        first = lens.ask(["One"], Settings(max_new_tokens=400), visitor="ann")
        with pytest.raises(UserError, match="still being answered"):
            lens.ask(["Two"], visitor="ann")
        lens.ask(["Three"], few, visitor="bob").result()
        first.cancel()
        lens.ask(["Four"], few, visitor="ann").result()


def test_the_next_request_waits_a_moment_for_the_one_before_it(monkeypatch):
    lens = Lens(LocalLoader("never loaded"), limits=Limits(previous_seconds=60))
    first, known = lens.ask(["One"], visitor="ann"), threading.Event()
    wait_over = first.wait_over

    def noted(timeout):
        known.set()
        return wait_over(timeout)

    monkeypatch.setattr(first, "wait_over", noted)
    leaving = threading.Thread(target=lambda: known.wait(60) and first.cancel())
    leaving.start()
    assert lens.ask(["Two"], visitor="ann").answers
    leaving.join()


@pytest.mark.parametrize(
    ("limits", "question", "settings", "words"),
    [
        (Limits(waiting_requests=2), "Three", Settings(), "2 requests are ahead of you"),
        (Limits(asks_per_address=2), "Three", Settings(), "2 requests from your network"),
        (Limits(question_characters=10), "Longer than that", Settings(), "at most 10"),
        (Limits(answer_tokens=20), "Three", Settings(max_new_tokens=21), "at most 20"),
    ],
)
def test_what_is_too_much_for_this_server_is_said(limits, question, settings, words):
    lens = Lens(LocalLoader("never loaded"), limits=limits)
    few = Settings(max_new_tokens=2)
    for short in ("One", "Two"):
        lens.ask([short], few, address="192.0.2.1")
    with pytest.raises(UserError, match=words):
        lens.ask([question], settings, address="192.0.2.1")


def test_another_address_is_not_held_back():
    lens = Lens(LocalLoader("never loaded"), limits=Limits(asks_per_address=1))
    lens.ask(["One"], address="192.0.2.1")
    assert lens.ask(["Two"], address="192.0.2.2").answers


def test_the_adapter_is_swapped_while_answers_run_and_a_bad_one_changes_nothing(lens, tiny_adapter_path, tmp_path):
    lens.start()
    lens.wait_ready(60)
    with_adapter = lens.ask(["Same?"], Settings(max_new_tokens=20)).result()
    running = lens.ask(["Running"], Settings(max_new_tokens=200))
    with pytest.raises(UserError):
        lens.reload(str(tmp_path))
    assert lens.status().adapter is not None
    assert lens.reload(None) is None
    assert all(answer.done for answer in running.result())
    with pytest.raises(UserError, match="No adapter"):
        lens.ask(["Tuned?"])
    base_alone = lens.ask(["Same?"], Settings(max_new_tokens=20), sides=("base",)).result()
    assert base_alone[0].text == with_adapter[0].text
    lens.reload(str(tiny_adapter_path))
    again = lens.ask(["Same?"], Settings(max_new_tokens=20)).result()
    assert [answer.text for answer in again] == [answer.text for answer in with_adapter]


def test_two_adapters_are_compared_while_the_app_runs_and_the_base_comes_back(
    lens, tiny_model_path, tiny_adapter_path, tmp_path
):
    other = random_adapter(tiny_model_path, tmp_path / "other", ("v_proj",))
    lens.start()
    lens.wait_ready(60)
    before = [answer.text for answer in lens.ask(["Same?"], Settings(max_new_tokens=20)).result()]
    lens.reload(str(tiny_adapter_path), against=str(other))
    status = lens.status()
    assert (status.adapter.path, status.against.name, status.base_is_base) == (tiny_adapter_path, "other", None)
    assert "path" not in status.to_dict()["against"]
    left, right = [answer.text for answer in lens.ask(["Same?"], Settings(max_new_tokens=20)).result()]
    assert left != before[0]
    assert right == before[1]
    with pytest.raises(UserError, match="tuned side too"):
        lens.reload(None, against=str(other))
    with pytest.raises(UserError):
        lens.reload(str(other), against=str(tmp_path / "nothing-here"))
    assert lens.status().against.name == "other"
    lens.reload(str(tiny_adapter_path))
    assert lens.status().against is None
    assert [answer.text for answer in lens.ask(["Same?"], Settings(max_new_tokens=20)).result()] == before


def test_other_models_are_opened_while_the_app_runs(lens, tiny_model_path, tiny_adapter_path, tmp_path):
    lens.start()
    lens.wait_ready(60)
    few = Settings(max_new_tokens=8)
    before = [answer.text for answer in lens.ask(["Same?"], few).result()]
    with pytest.raises(UserError, match="holds no model"):
        lens.open(LocalLoader(str(tmp_path), None, device="cpu"))
    assert [answer.text for answer in lens.ask(["Same?"], few).result()] == before
    assert lens.status().message == "ready"
    other = shutil.copytree(tiny_model_path, tmp_path / "other")
    running = lens.ask(["Long"], Settings(max_new_tokens=400))
    lens.open(LocalLoader(str(other), None, tuned_model=str(tiny_model_path), device="cpu"))
    with pytest.raises(UserError, match="Other models have been opened"):
        running.result()
    status = lens.status()
    assert (status.state, status.model, status.adapter.kind) == ("ready", str(other), "model")
    base, tuned = lens.ask(["Same?"], few).result()
    assert base.text == tuned.text == before[0]
    lens.open(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu"))
    assert [answer.text for answer in lens.ask(["Same?"], few).result()] == before


def test_what_failed_to_load_gives_way_to_what_is_opened(tiny_model_path):
    with Lens(LocalLoader("/no/such/model", None, device="cpu")) as lens:
        lens.start()
        with pytest.raises(UserError):
            lens.wait_ready(60)
        with pytest.raises(UserError, match="still/none"):
            lens.open(LocalLoader("/still/none", None, device="cpu"))
        with pytest.raises(UserError, match="such/model"):
            lens.ask(["Now?"])
        lens.open(LocalLoader(str(tiny_model_path), None, device="cpu"))
        lens.wait_ready(1)
        assert lens.ask(["Now?"], Settings(max_new_tokens=3), sides=("base",)).result()[0].done


def test_closing_ends_what_is_being_answered(tiny_model_path, monkeypatch):
    lens = Lens(LocalLoader(str(tiny_model_path), None, device="cpu"))
    lens.start()
    lens.wait_ready(60)
    engine = lens.served.engine
    computing, closing = threading.Event(), threading.Event()
    advance = engine.backend.advance

    def held(rows, tokens):
        """A step that is under way when the app is closed."""
        computing.set()
        closing.wait(60)
        return advance(rows, tokens)

    monkeypatch.setattr(engine.backend, "advance", held)
    stream = lens.ask(["Long"], Settings(max_new_tokens=400), sides=("base",))
    assert computing.wait(60)
    closer = threading.Thread(target=lens.close)
    closer.start()
    while not engine._closed:
        threading.Event().wait(0.001)
    closing.set()
    with pytest.raises(UserError, match="The app is shutting down: ask again once it is back"):
        stream.result()
    closer.join()
    assert [answer.state for answer in stream.answers] == ["failed"]
    with pytest.raises(UserError, match="shutting down"):
        lens.ask(["After"], sides=("base",))


@pytest.mark.parametrize("question", [None, 5, ["x"], ("x", None)])
def test_a_question_that_is_no_text_is_refused_in_words(question):
    with pytest.raises(UserError, match="A question must be text"):
        Stream([question], ["base"], Settings())


def test_a_class_behind_one_address_is_taken_in_where_sessions_are_counted():
    lens = Lens(LocalLoader("never loaded"), limits=Limits(asks_per_address=None))
    streams = [lens.ask(["What is a list?"], visitor=f"pupil {number}", address="192.0.2.1") for number in range(20)]
    assert len(streams) == 20


NO_SYSTEM = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("choice", [None, "plain"])
def test_notes_on_templates_follow_the_adapter_and_a_chosen_template_holds_for_both_sides(
    tiny_model_path, tiny_adapter_path, tmp_path, choice
):
    other = shutil.copytree(tiny_adapter_path, tmp_path / "other")
    (other / "chat_template.jinja").write_text(NO_SYSTEM)
    choices = Choices(chat_template=choice)
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu", choices=choices)) as lens:
        lens.start()
        lens.wait_ready(60)
        before = lens.status().notes
        card = lens.reload(str(other))
        during = lens.status().notes
        stream = lens.ask(["Why?"], Settings(max_new_tokens=2))
        stream.result()
        base, tuned = [row.ids[: row.prompt_length] for row in stream.rows]
        lens.reload(str(tiny_adapter_path))
        assert lens.status().notes == before
    assert (base == tuned) == (choice is not None)
    assert any("--chat-template" in note for note in card.notes) == (choice is not None)
    assert any("no system role" in note for note in set(during) - set(before)) == (choice is None)
