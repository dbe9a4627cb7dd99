"""The lens in Chromium: tokens of both answers by mouse and keyboard, what if, pasted text, the adapter's report."""

from __future__ import annotations

import json

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import expect

from tests.app.visiting import HELD, ask, overflow, screenshot, wait_until_done

pytestmark = pytest.mark.browser

TOKENS = "#ll-board .ll-tokens"
PANEL = "#ll-board .ll-token-panel"


def test_a_rows_tokens_are_read_walked_and_gone_on_from(visit):
    page = visit()
    ask(page, "Why?", tokens=24)
    wait_until_done(page, answers=2)
    page.click(".ll-tokens-toggle")
    page.wait_for_selector(f"{TOKENS} .ll-token")
    assert page.locator(TOKENS).count() == 2
    assert page.get_attribute(".ll-tokens-toggle", "aria-pressed") == "true"
    parts = page.locator("#ll-board .ll-part").all_inner_texts()
    assert len(parts) == 2
    assert all(words.startswith("here they part: base wanted") for words in parts)
    # Without colour: the line's weight and kind tell the same.
    step = page.locator(f"{TOKENS} .ll-token[data-step='4'], {TOKENS} .ll-token[data-step='-4']").first
    assert step.evaluate("e => getComputedStyle(e).borderBottomWidth") == "4px"
    first = page.locator(f"{TOKENS} .ll-token").first
    first.focus()
    page.keyboard.press("ArrowRight")
    focused = "document.activeElement"
    assert page.evaluate(f"{focused}.dataset.place") == "1"
    assert "rank base" in page.evaluate(f"{focused}.getAttribute('aria-label')")
    page.keyboard.press("End")
    assert page.evaluate(f"{focused}.dataset.place") == "23"
    assert page.locator(f"{TOKENS} [tabindex='0']").count() == 2  # one way into each text
    page.keyboard.press("Enter")
    assert page.locator(f"{PANEL} table").count() == 2
    assert page.locator(f"{PANEL} tbody tr").count() == 16
    page.locator(f"{PANEL} table[data-side=tuned] .ll-go").nth(2).click()
    page.wait_for_selector(f"{PANEL} pre")
    assert page.inner_text(f"{PANEL} pre").strip()
    screenshot(page, "lens-row")
    page.get_by_role("button", name="Diff").click()
    assert page.locator(TOKENS).first.is_hidden()
    page.click(".ll-tokens-toggle")
    assert page.locator(TOKENS).first.is_visible()

    page.click("text=Read another text behind this question")
    page.wait_for_selector("#ll-lens-question")
    assert page.input_value("#ll-lens-question") == "Why?"
    page.click(".ll-read")
    page.wait_for_selector("#ll-lens .ll-notice:visible >> text=no text to score")
    page.fill("#ll-lens-text", "line <|im_end|> of text\n" * 174)  # some 4,000 tokens of a byte each
    page.click(".ll-read")
    page.wait_for_selector("#ll-lens .ll-token", timeout=60_000)
    assert page.locator("#ll-lens .ll-tokens .ll-token").count() == 174 * 24
    lasted = page.evaluate(
        """() => { const list = document.querySelectorAll('#ll-lens .ll-tokens .ll-token'); list[0].focus();
        for (let at = 0; at < 200; at++) document.activeElement.dispatchEvent(
            new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
        return Number(document.activeElement.dataset.place); }"""
    )
    assert lasted == 200

    page.click(".ll-adapter-button")
    page.wait_for_selector(".ll-heat td")
    assert page.locator(".ll-heat tbody tr").count() == 16
    page.locator(".ll-heat td").first.focus()
    assert "used as" in page.inner_text(".ll-module")
    for strength, name in (("0.5", "page-adapter at strength 0.5"), ("1", "page-adapter")):
        page.locator(".ll-strength input[type=range]").fill(strength)
        page.wait_for_selector(f".ll-strength .ll-hint >> text=From the next answer on: {name}.")
    page.keyboard.press("Escape")
    assert page.locator(".ll-adapter-card").is_hidden()


def test_blind_rows_have_no_lens_before_the_vote_and_phones_hold_it(visit):
    page = visit(width=390, height=844, theme="dark")
    page.check("#ll-blind input")
    ask(page, "Hidden?", tokens=16)
    wait_until_done(page, answers=2)
    assert page.locator(".ll-tokens-toggle").is_hidden()
    page.locator(".ll-votes .ll-choices button").first.click()
    page.wait_for_selector(".ll-tokens-toggle:visible")
    page.click(".ll-tokens-toggle")
    page.wait_for_selector(f"{TOKENS} .ll-token")
    page.locator(f"{TOKENS} .ll-token").first.click()
    assert overflow(page) <= 0
    screenshot(page, "lens-phone", full_page=True)


def test_strengths_answer_the_question_that_was_asked_last(visit):
    page = visit()
    page.get_by_role("tab", name="Lens").click()
    page.wait_for_selector("#ll-lens .ll-strengths")
    page.evaluate(HELD)
    page.evaluate("document.getElementById('ll-lens').append(LoraLens.buildStrengths(held))")
    part = page.locator("#ll-lens > .ll-strengths").last
    asked, columns = part.locator(".ll-columns-asked"), part.locator(".ll-column")

    def ask(question):
        page.evaluate("(question) => LoraLens.compareStrengths(question)", question)

    def called(*expected):
        page.wait_for_function("(count) => calls.length >= count", arg=len(expected))
        found = page.evaluate(
            "calls.map(({ name, sent }) => [name.replace('strengths_', ''), sent.id || sent.question])"
        )
        assert found == [list(each) for each in expected]

    def answer(number, **value):
        page.evaluate("([number, value]) => calls[number].answer(value)", [number, value])

    def written(text):
        one = {"strength": 1, "text": text, "state": "streaming", "facts": [], "ending": "", "as_trained": True}
        return {"columns": [one], "ahead": 0, "notes": [], "running": False}

    ask("First?")
    ask("Second?")
    before = [("begin", "First?"), ("begin", "Second?")]
    called(*before)
    answer(0, id="one")
    before += [("stop", "one")]  # nobody would read what it writes
    called(*before)
    answer(1, id="two")
    before += [("look", "two")]
    called(*before)
    ask("Third?")
    before += [("stop", "two")]
    called(*before)
    answer(3, **written("to the second"))
    answer(4)
    before += [("begin", "Third?")]
    called(*before)
    expect(asked).to_have_text("Third?")
    expect(columns).to_have_count(0)
    answer(5, id="three")
    before += [("look", "three")]
    called(*before)
    answer(6, **written("to the third"))
    expect(columns).to_have_count(1)
    expect(columns).to_contain_text("to the third")
    expect(part.get_by_role("button", name="Compare strengths")).to_be_enabled()


def test_a_survey_is_watched_on_after_a_failure_and_none_is_drawn_over_another(visit):
    page = visit()
    page.get_by_role("tab", name="Lens").click()
    page.wait_for_selector("#ll-lens .ll-surveys")
    page.clock.install()
    page.evaluate(HELD)
    page.evaluate("document.getElementById('ll-lens').append(LoraLens.buildSurveys(held))")
    part = page.locator("#ll-lens > .ll-surveys").last
    state = part.locator("p[role=status]")

    def called(*expected):
        page.wait_for_function("(count) => calls.length >= count", arg=len(expected))
        assert page.evaluate("calls.map(({ name, sent }) => `${name} ${sent.name ?? ''}`.trim())") == list(expected)

    def answer(number, name="", **survey):
        kept = [{"name": each, "about": "a set"} for each in "AB"]
        known = {"name": name, "kind": "curve", "about": f"the set {name}", "adapter": "", "done": 1, "total": 4}
        told = known | {"words": "read", "problem": "", "notes": [], "result": None} | survey
        value = {"survey": told, "kept": kept, "owner": True} if name else survey
        page.evaluate("([number, value]) => calls[number].answer(value)", [number, value])

    answer(0, "A", state="running")
    before = ["survey", "survey_form"]
    called(*before)
    expect(state).to_contain_text("the set A · 1 of 4")
    page.clock.run_for(1000)
    before.append("survey")
    called(*before)
    answer(2, error="The server does not answer: try again.")
    expect(state).to_contain_text("does not answer")
    page.clock.run_for(4000)
    before.append("survey")  # once more
    called(*before)
    part.get_by_label("Surveys that are kept").select_option("B")
    before.append("survey B")
    called(*before)
    score = {"value": 0.5, "interval": [0.4, 0.6]}
    points = [{"strength": each, "score": score, "not_scored": 0, "forgetting": None, "notes": []} for each in (0.5, 1)]
    result = {"task": "t", "questions": 3, "points": points, "best": 0.5, "tied": False}
    answer(4, "B", state="finished", result=result)
    expect(state).to_contain_text("the set B · finished")
    answer(3, "A", state="running")  # late
    page.clock.run_for(10_000)
    called(*before)
    expect(state).to_contain_text("the set B · finished")
    part.get_by_role("button", name="Use strength 0.5 from now on").click()
    called(*before, "use_best B")
    answer(5, error="It is another adapter's.")
    expect(part).to_contain_text("It is another adapter's.")


def test_scripts_read_texts_and_the_adapter(app):
    client = Client(app.url, verbose=False, analytics_enabled=False)
    try:
        found = client.predict("Why?", "because", api_name="/token_lens")
        assert "".join(token["text"] for token in found["tokens"]) == "because"
        assert found["figures"]["tokens"] == 7
        assert len(client.predict(api_name="/adapter_report")["modules"]) == 32
        for wrong, words in (
            (("Why?", ""), "no text"),
            (("Why?", "x" * 20_001), "20,001 characters"),
            (("", "x"), "empty"),
        ):
            with pytest.raises(AppError, match=words):
                client.predict(*wrong, api_name="/token_lens")
        json.dumps(found, allow_nan=False)
    finally:
        client.close()
