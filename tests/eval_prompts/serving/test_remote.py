"""The pair at endpoints: llama.cpp's real server where it is installed, and a stand-in for what servers do wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from eval_prompts.answers import UNSAID, Settings
from eval_prompts.rows import Ahead, Prompt
from eval_prompts.scoring import plans, run
from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.figures import figures_of
from eval_prompts.scoring.folder import State
from eval_prompts.scoring.result import table_of
from eval_prompts.scoring.subject import named_subject
from eval_prompts.serving import endpoint as endpoint_module
from eval_prompts.serving import remote
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.remote import RemoteLoader
from eval_prompts.showing.certainty import confidence_view
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.history import conversation_of
from tests.conftest import CHAT_TEMPLATE
from tests.eval_prompts.serving.one_word_model import write
from tests.eval_prompts.serving.stand_in import KEY, StandIn
from tuning.data.chat import PromptFormat
from tuning.errors import UserError


@pytest.fixture
def endpoint():
    stand_in = StandIn()
    yield stand_in
    stand_in.close()


@pytest.fixture
def lens(endpoint):
    with Lens(RemoteLoader(endpoint.url, endpoint.url, "base", "lora", KEY)) as lens:
        lens.start()
        lens.wait_ready(30)
        yield lens


def test_each_side_is_answered_by_its_own_model(lens, endpoint):
    base, tuned = lens.ask(["What is a list?"], Settings(max_new_tokens=50, temperature=0.5, seed=7)).result()
    assert (base.text, tuned.text) == ("def f()base", "def f()lora")
    assert base.state == tuned.state == "ended"
    assert base.tokens == 6
    assert base.first_token_seconds <= base.seconds + 1
    asked = endpoint.asked[0]
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["messages"][1]["content"].endswith("What is a list?")
    assert (asked["max_tokens"], asked["temperature"], asked["seed"]) == (50, 0.5, 7)


def test_an_answer_at_the_cap_is_capped(lens):
    assert {answer.state for answer in lens.ask(["Short"], Settings(max_new_tokens=4)).result()} == {"capped"}


def test_five_probes_are_answered_at_once(lens, monkeypatch):
    made = []
    monkeypatch.setattr(remote, "new_client", lambda: made.append(endpoint_module.new_client()) or made[-1])
    answers = lens.ask([f"Question {number}" for number in range(5)], Settings(max_new_tokens=50)).result()
    assert [answer.index for answer in answers] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert all(answer.done for answer in answers)
    assert len(made) == 1  # for all ten, for making one takes longer than asking
    lens.close()
    assert made[0].is_closed


def test_stopping_ends_answers_that_are_under_way(lens, endpoint):
    endpoint.pause.clear()
    stream = lens.ask(["Long"], Settings(max_new_tokens=50))
    for answers in stream.snapshots():
        if all(answer.text for answer in answers):
            break
    stream.cancel()
    assert {answer.state for answer in stream.result()} == {"cancelled"}
    assert lens.status().answering == 0


def test_who_waits_is_told_the_true_place_in_line(endpoint, monkeypatch):
    monkeypatch.setattr("eval_prompts.serving.remote.MAX_REQUESTS", 2)
    endpoint.pause.clear()
    with Lens(RemoteLoader(endpoint.url, endpoint.url, "base", "lora", KEY)) as lens:
        lens.start()
        lens.wait_ready(30)
        streams = [lens.ask([f"Question {number}"], Settings(max_new_tokens=50)) for number in range(4)]
        for answers in streams[0].snapshots():
            if all(answer.text for answer in answers):
                break
        assert streams[0].ahead == Ahead()
        assert streams[3].ahead == Ahead(answers=6, requests=3, at_once=2)
        endpoint.pause.set()
        for stream in streams:
            stream.result()


def test_status_names_both_models_and_no_key(lens):
    status = lens.status().to_dict()
    assert status["state"] == "ready"
    assert (status["model"], status["adapter"]["name"]) == ("base", "lora")
    assert KEY not in json.dumps(status)


def test_a_refusal_is_one_line_and_the_next_question_is_answered(lens, endpoint):
    endpoint.status = 500
    with pytest.raises(UserError, match=r"side refused \(500\): out of memory$"):
        lens.ask(["Anything"]).result()
    endpoint.status = 200
    assert lens.ask(["Again"], Settings(max_new_tokens=50)).result()[0].text


@pytest.mark.parametrize(
    ("reason", "extra", "words"),
    [
        (None, None, "broke off"),
        ("abort", None, r"itself \(abort\)"),
        ("content_filter", None, "content_filter"),
        ("stop", '{"error": {"message": "KV cache\\nis full"}}', "failed: KV cache is full$"),
        ("stop", '{"error": "no room"}', "failed: no room$"),
        ("stop", "<html>", "not a JSON object"),
        ("stop", "[1]", "not a JSON object"),
    ],
)
def test_an_answer_that_breaks_off_has_failed(lens, endpoint, reason, extra, words):
    endpoint.reason, endpoint.extra = reason, extra
    stream = lens.ask(["Anything"], Settings(max_new_tokens=50))
    with pytest.raises(UserError, match=words):
        stream.result()
    assert "ended" not in {answer.state for answer in stream.answers}
    endpoint.reason, endpoint.extra = "stop", None
    assert lens.ask(["Again"], Settings(max_new_tokens=50)).result()[0].state == "ended"


def content(*entries):
    return {"content": [{"token": token, "logprob": logprob} for token, logprob in entries]}


@pytest.mark.parametrize(
    ("odds", "expected", "missing"),
    [
        (lambda text: content((text[:1], -0.1), (text[1:], -2.0)), [("d", 0.905), ("ef ", 0.135)], 0),
        (lambda text: content((text, -0.5)) if text == "f" else None, [("def ", None), ("f", 0.607)], 3),
        (lambda text: content(("other", -0.5)), [("def ", None), ("f", None)], 4),
        (lambda text: content((text, "much")), [("def ", None), ("f", None)], 4),
        (lambda text: {"content": None}, [("def ", None), ("f", None)], 4),
        ("refused", [("def ", None), ("f", None)], 4),
    ],
)
def test_how_sure_a_side_was_is_its_servers_word_or_said_to_be_unknown(lens, endpoint, odds, expected, missing):
    endpoint.odds = odds
    base, _ = lens.ask(["Anything"], Settings(max_new_tokens=50, confidence=True)).result()
    assert base.text == "def f()base"
    view = confidence_view(base)
    assert view["tokens"][:2] == expected
    assert sum(chance is None for _, chance in view["tokens"]) == missing
    assert bool(view["note"]) == bool(missing)
    plain, _ = lens.ask(["Anything"], Settings(max_new_tokens=50)).result()
    assert "logprobs" not in endpoint.asked[-1]
    assert plain.confidence == ()


def test_tokens_without_a_text_do_not_move_the_others_probabilities(lens, endpoint):
    endpoint.odds, endpoint.counts = lambda text: content((text, -0.5)), iter([3])
    (base,) = lens.ask(["Anything"], Settings(max_new_tokens=50, confidence=True), ("base",)).result()
    told = [(piece, chance) for piece, chance in base.confidence if piece]
    assert [piece for piece, _ in told] == ["def ", "f", "()", "base"]
    assert [chance for _, chance in told] == pytest.approx([0.6065] * 4, abs=1e-3)


@pytest.mark.parametrize("extra", ['{"choices": null}', '{"choices": [null]}', '{"choices": [{"delta": null}]}', ""])
def test_events_without_text_change_nothing(lens, endpoint, extra):
    endpoint.extra = extra
    assert lens.ask(["Anything"], Settings(max_new_tokens=50)).result()[0].text == "def f()base"


def test_the_tasks_own_prompt_and_stop_texts_go_out(lens, endpoint):
    format = PromptFormat("Talk like a pirate.", "In {place}: {question}")
    prompt = Prompt("Where?", tuple(format.messages({"question": "Where?", "place": "Peru"})))
    (base, _) = lens.ask([prompt], Settings(max_new_tokens=50, stop=("f(",))).result()
    asked = endpoint.asked[0]
    assert asked["messages"] == [
        {"role": "system", "content": "Talk like a pirate."},
        {"role": "user", "content": "In Peru: Where?"},
    ]
    assert asked["stop"] == ["f("]
    assert base.text == "def "


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("base", "nobody", KEY), "no model 'nobody': it serves base, lora"),
        (("base", "lora", "wrong"), r"refused \(401\)"),
    ],
)
def test_what_cannot_be_used_is_said_at_the_start(endpoint, asked, words):
    with Lens(RemoteLoader(endpoint.url, endpoint.url, *asked)) as lens:
        lens.start()
        with pytest.raises(UserError, match=words) as told:
            lens.wait_ready(30)
    assert KEY not in str(told.value)


def test_an_address_without_a_scheme_is_refused():
    with Lens(RemoteLoader("localhost:8000/v1", "http://localhost/v1")) as lens:
        lens.start()
        with pytest.raises(UserError, match="--base-url"):
            lens.wait_ready(30)


def test_an_adapter_is_chosen_where_it_is_served(lens):
    with pytest.raises(UserError, match="served elsewhere"):
        lens.reload("starter")


@pytest.fixture
def llama_cpp():
    """Starts llama.cpp's server on a GGUF file and gives its address; it ends with the test."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp (llama.cpp's server) is not installed")
    with ExitStack() as servers:

        def serve(model: Path) -> str:
            command = [sys.executable, str(Path(__file__).with_name("llama_cpp_server.py")), str(model)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            server = servers.enter_context(subprocess.Popen(command, text=True, **pipes))
            servers.callback(server.stdin.close)
            return next(line.split()[-1] for line in server.stdout if line.startswith("serving at "))

        yield serve


def test_llama_cpps_servers_answer_for_their_sides(llama_cpp, tiny_tokenizer, tmp_path):
    models = [write(tmp_path / f"{letter}.gguf", tiny_tokenizer, letter, CHAT_TEMPLATE) for letter in "ab"]
    with Lens(RemoteLoader(*(f"{llama_cpp(Path(model))}/v1" for model in models))) as lens:
        lens.start()
        lens.wait_ready(60)
        base, tuned = lens.ask(["Add two numbers."], Settings(max_new_tokens=12)).result()
    assert (base.text, tuned.text) == ("a" * 12, "b" * 12)
    assert (base.state, tuned.state) == ("capped", "capped")
    assert (base.tokens, tuned.tokens) == (12, 12)


def test_a_conversation_goes_out_turn_by_turn_each_side_with_its_own_answers(lens, endpoint):
    prompts = conversation_of(python_task(), "One?", ["Two?", "Three?"])
    answers = lens.ask(prompts, Settings(max_new_tokens=50)).result()
    assert [answer.state for answer in answers] == ["ended"] * 6
    sent = {(one["model"], len(one["messages"])): one["messages"] for one in endpoint.asked}
    for model in ("base", "lora"):
        assert [turn["content"] for turn in sent[model, 6]][2:] == [
            f"def f(){model}",
            "Two?",
            f"def f(){model}",
            "Three?",
        ]
        assert sent[model, 4] == sent[model, 6][:4]
    endpoint.script = ["<think>never over"]
    told = lens.ask(prompts, Settings(max_new_tokens=50)).result()
    assert [answer.state for answer in told] == ["ended"] * 2 + ["failed"] * 4
    assert {answer.problem for answer in told[2:]} == {UNSAID}


def test_endpoints_are_scored_and_what_needs_likelihoods_is_left_out_aloud(lens, tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "data"))
    path = tmp_path / "mixed.yaml"
    path.write_text(
        "name: mixed\nquestions:\n- {question: Write f, checks: [{contains: {text: lora, words: false}}]}\n"
        "- {question: Which?, options: [a, b], answer: a, checks: [{choice: {by: likelihood}}]}\n"
    )
    subject = named_subject(str(path), lambda task: task.settings)
    scoring = plans.new_scoring([subject], lens.status(), figures=["forgetting"])
    assert run.Runner(scoring, [subject], lens).run()[0] is State.FINISHED
    card = card_of(figures_of(table_of(scoring)))
    assert "mixed: 1 question left out (likelihoods are read of models in this process alone" in " ".join(card.notes)
    assert sum("whether it is forgotten is not known" in line for line in card.kept) == 2
    assert table_of(scoring).tasks["mixed"].outcome(0) == "gained"
