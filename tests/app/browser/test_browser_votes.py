"""Verdicts and votes in Chromium: badges, votes by click and by key, blind mode, undo."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.app.visiting import (
    ASK_ALL,
    CONTRAST,
    DIFF,
    ask,
    choose_longest_answer,
    code,
    screenshot,
    stored_comparison,
    wait_until_done,
    wait_until_saved,
)

pytestmark = pytest.mark.browser

CHECKING = ".ll-verdict[data-state=checking]"


def said(page, row=0):
    return page.locator(".ll-said").nth(row)


def expect_pressed(page, *choices, row=0):
    """These choices of a row, and no others, are or become the vote."""
    bar = page.locator(".ll-row").nth(row)
    for choice in choices:
        expect(bar.locator(f".ll-choice[data-choice={choice}]")).to_have_attribute("aria-pressed", "true")
    expect(bar.locator(".ll-choice[aria-pressed=true]")).to_have_count(len(choices))


def go_blind(page):
    page.get_by_label("Blind: names are hidden until you vote").check()


def test_badges_say_in_words_what_was_found_and_why_on_a_click(visit):
    page = visit()
    page.click(ASK_ALL)
    wait_until_done(page, answers=10)
    page.wait_for_selector(CHECKING, state="detached")
    for side in page.locator(".ll-side").all():
        expect(side.locator(".ll-verdict").first).to_be_visible()
        labels = side.locator(".ll-verdict").all_inner_texts()
        assert all(label[0] in "✓✗○" and len(label) > 3 for label in labels)
    badge = page.locator("button.ll-verdict").first
    side = page.locator(".ll-side:has(button.ll-verdict)").first
    height = page.locator(".ll-row").first.bounding_box()["height"]
    badge.click()
    expect(badge).to_have_attribute("aria-expanded", "true")
    expect(side.locator(".ll-finding p").first).to_have_text(re.compile(r"\S"))
    assert page.locator(".ll-row").first.bounding_box()["height"] == height
    expect(page.locator(".ll-tally").first).to_contain_text("of 5 do the task")
    badge.click()
    expect(side.locator(".ll-finding")).to_be_hidden()


FORGET_VERDICTS = """() => {
    const key = "lora-lens.comparisons.2";
    const kept = JSON.parse(localStorage[key]);
    const sides = kept[0].rows.flatMap((row) => Object.values(row.sides));
    for (const side of sides) side.verdict = { checking: true, badges: [] };
    localStorage[key] = JSON.stringify(kept);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_verdict_that_is_still_being_found_is_said_to_be_checked_and_then_shown(visit, theme):
    """As in a page that was left before the verdict was known; the server's answer is held back meanwhile."""
    page = visit(theme=theme)
    ask(page, "Which?")
    wait_until_done(page, answers=2)
    page.wait_for_selector(CHECKING, state="detached")
    known = page.locator(".ll-badges").all_inner_texts()
    assert all(known)
    page.evaluate(FORGET_VERDICTS)
    held = []

    def hold(route):
        held.append(route) if '"judged"' in (route.request.post_data or "") else route.continue_()

    page.route("**/component_server/*", hold)
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(CHECKING)
    expect(page.locator(".ll-badges")).to_have_text(["checking\u2026"] * 2)
    assert [pair for pair in page.evaluate(CONTRAST) if pair[0] < 4.5] == []
    screenshot(page, f"checking-{theme}")
    height = page.locator(".ll-row").bounding_box()["height"]
    held[0].continue_()
    page.wait_for_selector(CHECKING, state="detached")
    expect(page.locator(".ll-badges")).to_have_text(known, use_inner_text=True)
    assert page.locator(".ll-row").bounding_box()["height"] == height


def test_a_vote_by_click_is_saved_changed_undone_and_survives_a_reload(visit):
    page = visit()
    ask(page, "Which?")
    wait_until_done(page, answers=2)
    page.get_by_role("button", name="Tuned is better").click()
    wait_until_saved(page)
    expect_pressed(page, "right")
    page.get_by_role("button", name="Tie").click()
    page.wait_for_selector(".ll-choice[data-choice=tie][aria-pressed=true]")
    wait_until_saved(page)
    page.get_by_role("button", name="Say why").click()
    page.locator(".ll-tag").first.click()
    page.wait_for_selector(".ll-tag[aria-pressed=true]")
    page.get_by_label("Comment on your vote").fill("<b>Both</b> are fine")
    page.keyboard.press("Enter")
    page.wait_for_function("JSON.parse(localStorage['lora-lens.comparisons.2'])[0].rows[0].vote.comment")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-choice[data-choice=tie][aria-pressed=true]")
    page.get_by_role("button", name="Say why").click()
    expect(page.locator(".ll-why input")).to_have_value("<b>Both</b> are fine")
    expect(page.locator(".ll-tag[aria-pressed=true]")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(".ll-choice[aria-pressed=true]", state="detached")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-choice:enabled")
    expect_pressed(page)


def test_keys_vote_row_by_row_and_not_while_typing(visit):
    page = visit()
    choose_longest_answer(page, 16)
    page.click(ASK_ALL)
    wait_until_done(page, answers=10)
    page.mouse.move(0, 0)
    page.locator("body").evaluate("() => document.activeElement.blur()")
    page.keyboard.press("1")
    expect(page.locator(".ll-row").first).to_be_focused()
    expect(said(page, 0)).to_have_text("1 to 4 vote here now")
    expect_pressed(page, row=0)
    for row, (key, choice) in enumerate([("1", "left"), ("2", "right"), ("3", "tie")]):
        page.locator(".ll-row").nth(row).focus()
        page.keyboard.press(key)
        wait_until_saved(page, row)
        expect_pressed(page, choice, row=row)
    page.locator(".ll-sides").nth(4).focus()
    page.keyboard.press("4")
    wait_until_saved(page, 4)
    expect_pressed(page, "both_bad", row=4)
    page.locator(".ll-row").nth(1).evaluate("row => row.focus({ preventScroll: true })")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.keyboard.press("3")
    expect_pressed(page, "right", row=1)  # it is off the screen
    page.click("#ll-question textarea")
    page.keyboard.type("1234")
    expect(page.locator("#ll-question textarea")).to_have_value("1234")
    expect_pressed(page, row=3)


def test_a_vote_while_the_answers_stream_stops_these_two_and_is_recorded_so(visit):
    page = visit()
    choose_longest_answer(page, 1000)
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-choice:enabled")
    page.locator(".ll-choice[data-choice=left]").first.click()
    wait_until_saved(page)
    expect(said(page)).to_contain_text("given while they were writing")
    states = "[...document.querySelectorAll('.ll-side')].map((side) => side.dataset.state)"
    page.wait_for_function(f"{states}.slice(0, 2).every((state) => state === 'cancelled')")
    assert "streaming" in page.evaluate(states)[2:]
    page.keyboard.press("Escape")
    page.wait_for_function("document.documentElement.dataset.lensBusy === 'false'")
    wait_until_saved(page)


def test_a_vote_that_the_store_refuses_is_told_on_its_row(visit, complaints):
    page = visit()
    ask(page, "Lost?")
    wait_until_done(page, answers=2)
    page.evaluate("localStorage.setItem('lora-lens.visitor', 'x'.repeat(1000))")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-choice:enabled")
    page.get_by_role("button", name="Tie").click()
    page.wait_for_selector(".ll-trouble:visible")
    expect(page.locator(".ll-trouble").first).to_contain_text("whose it is")
    expect_pressed(page)
    expect(said(page)).to_have_text("")


LISTEN = """() => {
    window.heard = [];
    const parse = JSON.parse;
    JSON.parse = (text, ...rest) => (window.heard.push(String(text)), parse(text, ...rest));
}"""
"""Keeps each message that reaches the page's script, as it was sent."""


NAMES_ONCE_SAVED = """() => {
    const said = document.querySelector(".ll-said");
    const badges = () => [...document.querySelectorAll(".ll-badge")].map((badge) => badge.textContent);
    new MutationObserver(() => {
        if (said.textContent.includes("saved")) window.namesOnceSaved ??= badges();
    }).observe(said, { childList: true, characterData: true, subtree: true });
}"""
"""Keeps the names that stand on the page at the moment it says that the vote is saved."""


def hidden_everything(page):
    """Whatever a curious visitor could read before the vote: the board, the store and the last data received."""
    return page.evaluate(
        """() => {
            const board = document.querySelector("#ll-board .ll-rows").outerHTML;
            return [board, localStorage["lora-lens.comparisons.2"] || ""].join("\\n");
        }"""
    )


def test_blind_hides_who_is_who_until_the_vote(visit):
    page = visit()
    page.evaluate(LISTEN)
    go_blind(page)
    ask(page, "Who am I?", tokens=40)
    page.wait_for_selector(".ll-side")
    expect(page.locator(".ll-badge")).to_have_text(["A", "B"])
    wait_until_done(page, answers=2)
    left, right = page.locator(".ll-side").all()
    style = "(side) => [getComputedStyle(side.querySelector('.ll-badge')).color, side.dataset.side.length]"
    assert left.evaluate(style) == right.evaluate(style)
    expect(page.locator(".ll-side .ll-verdict")).to_have_count(0)
    seen = hidden_everything(page)
    stored = json.loads(page.evaluate("localStorage['lora-lens.comparisons.2']"))[0]
    for row in stored["rows"]:
        assert row["names"] is None
        assert list(row["sides"]["left"]) == list(row["sides"]["right"])
        assert "tuned" not in json.dumps(row)
        assert "tok/s" not in json.dumps(row)
    assert "tuned" not in seen.lower().replace(json.dumps(stored["adapter"]), "")
    heard = page.evaluate("window.heard.join('')")
    assert "process_generating" in heard
    assert '"pair"' in heard
    for word in ('"base"', '"tuned"', "tok/s", "seconds"):
        assert word not in heard.replace('"seconds_left"', "")  # of all that is asked, not of a side
    page.click(DIFF)
    expect(page.locator(".ll-summary")).to_have_text(re.compile("only in A|code"))
    screenshot(page, "blind")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.evaluate(NAMES_ONCE_SAVED)
    page.keyboard.press("1")
    wait_until_saved(page)
    assert sorted(page.evaluate("window.namesOnceSaved")) == ["Base", "Tuned"]
    for name in ("Base", "Tuned"):
        expect(page.locator(".ll-badge").get_by_text(name, exact=True)).to_have_count(1)
    expect(said(page)).to_contain_text("A was")
    expect(page.locator(".ll-facts").first).to_contain_text("tok/s")
    page.wait_for_selector(".ll-verdict:not([data-state=checking])")
    names = page.locator(".ll-badge").all_inner_texts()
    screenshot(page, "revealed")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-row")
    expect(page.locator(".ll-badge")).to_have_text(names)
    expect(page.get_by_label("Blind: names are hidden until you vote")).to_be_checked()


HOSTILE = "<img src=x onerror='window.harmed = 1'><script>window.harmed = 2</script> **bold** [x](javascript:alert(1))"


def judged_and_voted():
    """A kept comparison whose every text is hostile."""
    comparison = stored_comparison((code("a = 1"), code("a = 2")))
    badges = [
        {"kind": kind, "label": HOSTILE, "state": state, "reason": HOSTILE, "output": HOSTILE}
        for kind, state in (("parses", "good"), ("task", "bad"), ("runs", "neutral"))
    ]
    for side in comparison["rows"][0]["sides"].values():
        side["verdict"] = {"checking": False, "badges": badges}
    vote = {"choice": "left", "reasons": ["correct"], "comment": HOSTILE, "streaming": False}
    comparison["rows"][0] |= {"pair": "gone", "vote": vote}
    return comparison


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_findings_and_comments_are_text_that_stands_out(visit, theme):
    page = visit(theme=theme, stored=[judged_and_voted()])
    page.locator("button.ll-verdict").first.click()
    page.get_by_role("button", name="Say why").click()
    expect(page.locator(".ll-finding p").first).to_have_text(HOSTILE)
    expect(page.locator(".ll-finding pre").first).to_have_text(HOSTILE)
    expect(page.locator(".ll-why input")).to_have_value(HOSTILE)
    expect(page.locator("#ll-board").locator("img, script, b:not(.ll-tally b), a")).to_have_count(0)
    assert [pair for pair in page.evaluate(CONTRAST) if pair[0] < 4.5] == []
    page.get_by_role("button", name="Tie").click()
    page.wait_for_selector(".ll-trouble:visible")
    expect(page.locator(".ll-trouble").first).to_contain_text("no such pair")
    assert page.evaluate("window.harmed") is None
