"""The lens in Chromium: tokens of both answers by mouse and keyboard, what if, pasted text, the adapter's report."""

from __future__ import annotations

import json

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.app.visiting import ask, overflow, screenshot, wait_until_done

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
    last = page.locator(TOKENS).first.locator(".ll-token").count() - 1
    assert page.evaluate(f"{focused}.dataset.place") == str(last)
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
