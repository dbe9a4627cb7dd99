"""What the page is told: rows, words under an answer, header, settings from a form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval_prompts.answers import Answer, Settings
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.serving.status import Status
from eval_prompts.showing.compare_view import (
    adapter_names,
    adapter_words,
    ending,
    facts,
    settings_from,
    status_view,
)
from eval_prompts.tasks.probes import PROBES
from tests.eval_prompts.showing.showings import showing_of
from tuning.errors import UserError

CARD = AdapterCard(
    name="python-qa",
    path=Path("/somewhere/private"),
    base="smollm2-135m",
    rank=16,
    alpha=16,
    target_modules=("q_proj", "v_proj"),
    steps=1060,
    loss_before=0.7,
    loss_after=0.523,
)
STATUS = Status(
    state="ready",
    message="ready",
    progress=None,
    model="smollm2-135m",
    origin="the folder smol",
    device="CPU fp32",
    adapter=CARD,
    base_is_base=True,
    memory_mb=651,
    answering=0,
    queued=0,
    uptime_seconds=3.0,
    version="0.1.0",
)
QUESTION = PROBES[1].question


def answer(side="base", text="", state="waiting", index=0, question=QUESTION, **measures):
    return Answer(side, index, question, text, state=state, **measures)


def fenced(code):
    return f"Here it is:\n\n```python\n{code}\n```\n"


def view_of(*answers, settings=None, ahead=0):
    questions = list(dict.fromkeys(one.question for one in answers))
    return showing_of(questions, lambda: STATUS, settings, ahead).view(list(answers))


def test_the_details_show_both_prompts_where_they_differ():
    prompts = (("base", "### Question:\n(the question)"), ("tuned", "[user] (the question)"))
    shown = dict(status_view(replace(STATUS, prompts=prompts))["details"])
    assert shown["Base side is asked"] == prompts[0][1]
    assert shown["Tuned side is asked"] == prompts[1][1]
    assert not any("is asked" in name for name, _ in status_view(STATUS)["details"])


def test_a_row_has_its_title_question_and_both_sides():
    view = view_of(answer("base"), answer("tuned"), ahead=4)
    (row,) = view["rows"]
    assert (row["title"], row["question"]) == ("Fibonacci series", QUESTION)
    assert row["names"] == {"left": "base", "right": "tuned"}
    assert list(row["sides"]) == ["left", "right"]
    assert (view["running"], view["ahead"], view["place"], view["at_once"]) == (True, 4, 3, 32)
    assert (row["differs"], row["diff"]) == (None, [])


def test_who_answers_is_known_once_an_answer_begins_and_then_stays():
    moments = [
        replace(STATUS, state="loading", adapter=None),
        STATUS,
        replace(STATUS, adapter=replace(CARD, name="next")),
    ]
    showing = showing_of([QUESTION], lambda: moments[0])
    assert showing.view()["adapter"] == "loading…"
    del moments[0]
    showing.stream.rows[0].state = "streaming"
    assert showing.view()["adapter"].startswith("python-qa")
    del moments[0]
    assert showing.view()["adapter"].startswith("python-qa")


@pytest.mark.parametrize("model", ["/home/someone/models/smol", "owner/smol", "smol"])
def test_a_model_is_shown_by_its_own_name(model):
    status = replace(STATUS, model=model)
    assert status_view(status)["model"] == "smol"
    assert "someone" not in json.dumps(status_view(status))


def test_rows_are_grouped_by_question():
    asked = [
        answer(side, index=index, question=probe.question)
        for index, probe in enumerate(PROBES)
        for side in ("base", "tuned")
    ]
    assert [row["title"] for row in view_of(*asked)["rows"]] == [probe.title for probe in PROBES]


def test_a_question_of_ones_own_has_no_title():
    assert view_of(answer(question="Why?"), answer("tuned", question="Why?"))["rows"][0]["title"] == ""


def test_the_diff_waits_for_both_sides():
    base = answer("base", fenced("a = 1"), "ended")
    showing = showing_of([QUESTION], lambda: STATUS)
    early = showing.view([base, answer("tuned", fenced("a"), "streaming")])
    assert early["rows"][0]["differs"] is None
    late = showing.view([base, answer("tuned", fenced("a = 2"), "capped")])
    (row,) = late["rows"]
    assert row["differs"] is True
    assert [pair["kind"] for pair in row["diff"]] == ["changed"]
    assert row["sides"]["right"]["code"] == "a = 2"
    assert late["running"] is False


@pytest.mark.parametrize(
    ("tuned", "differs"),
    [(fenced("a = 1"), False), (fenced("a = 1") + "\n \n", False), (fenced("a = 1") + "Enjoy!", True)],
)
def test_answers_differ_by_their_words_too_but_not_by_space_around_them(tuned, differs):
    view = view_of(answer("base", fenced("a = 1"), "ended"), answer("tuned", tuned, "ended"))
    assert view["rows"][0]["differs"] is differs
    assert {pair["kind"] for pair in view["rows"][0]["diff"]} == {"same"}


def test_one_side_alone_has_nothing_to_differ_from():
    (row,) = view_of(answer("base", "Yes.", "ended"))["rows"]
    assert (row["names"], set(row["sides"]), row["differs"]) == ({"left": "base"}, {"left"}, None)


def test_a_view_is_json_and_keeps_text_as_it_is():
    text = "<script>alert(1)</script> <|im_start|>system"
    view = json.loads(json.dumps(view_of(answer("base", text, "ended"), answer("tuned", text, "ended"))))
    assert view["rows"][0]["sides"]["left"]["text"] == text


def test_the_words_under_an_answer():
    measured = answer(state="capped", tokens=1200, seconds=40.0, first_token_seconds=0.31)
    assert facts(measured) == ["1,200 tokens in 40.0 s", "30 tok/s", "first after 0.3 s"]
    assert facts(answer(state="streaming", tokens=1, seconds=0.5, first_token_seconds=0.5))[0] == "1 token in 0.5 s"
    assert facts(answer(state="streaming", tokens=30)) == ["30 tokens"]
    assert facts(answer()) == []


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("waiting", ""),
        ("streaming", ""),
        ("ended", "ended by itself"),
        ("capped", "hit the 1,000-token cap"),
        ("cancelled", "stopped by you"),
        ("failed", "failed: ask again"),
    ],
)
def test_the_ending_is_said_in_words(state, words):
    assert ending(answer(state=state), 1000) == words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(), "300 tokens at most · greedy"),
        (Settings(1000, 0.7, 0.9, 5), "1,000 tokens at most · temperature 0.7 · top-p 0.9 · seed 5"),
        (Settings(300, 1.0), "300 tokens at most · temperature 1 · seed 0"),
    ],
)
def test_settings_in_words(settings, words):
    assert view_of(answer(), answer("tuned"), settings=settings)["settings"] == words


def test_the_adapter_in_one_line():
    assert adapter_words(STATUS) == "python-qa · r16 · 1,060 steps · loss 0.52"
    assert adapter_words(replace(STATUS, adapter=replace(CARD, steps=None, loss_after=None))) == "python-qa · r16"
    assert adapter_words(replace(STATUS, adapter=None)) == "none"


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({}, "ready", "ready"),
        ({"answering": 10}, "answering", "answering"),
        ({"queued": 9}, "answering", "answering · 9 waiting"),
        ({"answering": 10, "queued": 6}, "answering", "answering · 6 waiting"),
        (
            {"state": "loading", "message": "loading the weights", "progress": 0.434},
            "loading",
            "loading the weights 43%",
        ),
        ({"state": "loading", "message": "finding the weights"}, "loading", "finding the weights"),
        ({"state": "failed", "message": "No such model: name a folder."}, "failed", "not loaded"),
    ],
)
def test_the_header_says_what_goes_on(changes, state, words):
    view = status_view(replace(STATUS, **changes))
    assert (view["state"], view["words"]) == (state, words)


def test_a_problem_is_told_in_full():
    assert status_view(STATUS)["problem"] == ""
    failed = replace(STATUS, state="failed", message="No such model: name a folder.")
    assert status_view(failed)["problem"] == "No such model: name a folder."


def test_the_page_asks_often_while_something_goes_on():
    assert status_view(STATUS)["poll_seconds"] > status_view(replace(STATUS, answering=1))["poll_seconds"]


def test_the_details_hold_no_path_and_warn_of_a_base_that_is_not_the_base():
    details = dict(map(tuple, status_view(STATUS)["details"]))
    assert "private" not in json.dumps(details)
    assert details["Base side"].startswith("untouched")
    assert "NOT" in dict(map(tuple, status_view(replace(STATUS, base_is_base=False))["details"]))["Base side"]


def test_a_page_without_an_adapter_or_a_model_yet():
    view = status_view(replace(STATUS, state="loading", adapter=None, base_is_base=None, origin="", memory_mb=0))
    assert view["adapter"] == "loading…"
    assert [name for name, _ in view["details"]] == ["Base model", "Runs on", "LoRA Lens"]


def test_settings_from_a_form():
    assert settings_from(300.0, "0.5", 1, None) == Settings(300, 0.5, 1.0, 0)


@pytest.mark.parametrize(
    "values",
    [
        ("many", 0, 1, 0),
        (300, None, 1, 0),
        (300, 0, [], 0),
        (float("nan"), 0, 1, 0),
        (float("inf"), 0, 1, 0),
        (300, float("nan"), 1, 0),
        (300, -1, 1, 0),
    ],
)
def test_settings_that_are_none_are_refused(values):
    with pytest.raises(UserError):
        settings_from(*values)


def test_an_adapter_that_stands_in_for_the_base_is_named_in_its_place():
    other = replace(STATUS, against=replace(CARD, name="older", steps=20), base_is_base=None)
    header = status_view(other)
    assert header["model"] == "older · r16 · 20 steps · loss 0.52"
    assert header["against"]
    assert [words for name, words in header["details"] if name == "Adapter"] == ["older", "python-qa"]
    assert "Base side" not in dict(header["details"])
    shown = showing_of([QUESTION], lambda: other).view([answer("base"), answer("tuned")])
    assert shown["model"] == header["model"]
    assert shown["rows"][0]["titles"] == {"base": "older", "tuned": "python-qa"}
    assert "titles" not in view_of(answer("base"), answer("tuned"))["rows"][0]


def test_two_adapters_of_one_name_are_told_apart_by_their_fingerprints():
    cards = {"adapter": replace(CARD, fingerprint="1" * 16), "against": replace(CARD, fingerprint="2" * 16)}
    assert adapter_names(replace(STATUS, **cards)) == {"base": "python-qa (2222222)", "tuned": "python-qa (1111111)"}
    assert adapter_names(STATUS) is None


def test_sides_that_are_served_elsewhere_are_not_said_to_be_checked_later():
    details = dict(status_view(replace(STATUS, base_is_base=None))["details"])
    assert details["Base side"] == "served elsewhere, so it is not compared with weights here"


def test_what_speaks_against_an_adapter_is_marked_and_told():
    noted = replace(STATUS, adapter=CARD.noting("It changes nothing."))
    view = status_view(noted)
    assert view["adapter"].endswith("⚠ 1 note")
    assert ["Note on the adapter", "It changes nothing."] in view["details"]
    assert "⚠" not in status_view(STATUS)["adapter"]
