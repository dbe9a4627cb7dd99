"""The page in Chromium: what a visitor does, with mouse and keyboard, light and dark, wide and narrow.

Every visit fails on a console error, an uncaught exception, and a request to anywhere but the app.
Screenshots are left in ``test-artifacts/``.
"""

from __future__ import annotations

import re

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from eval_prompts.tasks.probes import PROBES
from tests.app.visiting import (
    ASK,
    ASK_ALL,
    DIFF,
    FINAL,
    QUESTION,
    STOP,
    ask,
    choose_longest_answer,
    code,
    overflow,
    screenshot,
    stored_comparison,
    wait_until_done,
)

pytestmark = pytest.mark.browser


def test_all_five_are_answered_on_both_sides(visit):
    page = visit()
    expect(page.locator(".ll-empty")).to_be_visible()
    screenshot(page, "empty")
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-side[data-state=streaming]")
    screenshot(page, "writing")
    wait_until_done(page, answers=10)
    expect(page.locator(".ll-row h3")).to_have_text([probe.title for probe in PROBES])
    expect(page.locator(".ll-badge")).to_have_text(["Base", "Tuned"] * 5)
    for side in page.locator(".ll-side").all():
        expect(side.locator(".ll-body")).to_have_text(re.compile(r"\S"))
        expect(side.locator(".ll-facts")).to_contain_text("tok/s")
        expect(side.locator(".ll-ending")).to_have_text(re.compile("^(ended by itself|hit the 300-token cap)$"))
    expect(page.locator(".ll-about").first).to_contain_text("answers differ")
    screenshot(page, "answered", full_page=True)


def test_both_columns_are_equally_wide_and_nothing_moves_while_text_arrives(visit):
    page = visit()
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-side[data-state=streaming]")
    boxes = (
        "[...document.querySelectorAll('.ll-side')].map(e => [e.getBoundingClientRect().x, e.offsetTop, e.offsetWidth])"
    )
    before = page.evaluate(boxes)
    wait_until_done(page, answers=10)
    assert page.evaluate(boxes) == before
    widths = [width for _, _, width in before]
    assert max(widths) - min(widths) <= 1


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop_ends_both_sides_and_the_next_question_is_answered(visit, how):
    page = visit()
    choose_longest_answer(page, 1000)
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-side[data-state=streaming]")
    page.click(STOP) if how == "button" else page.keyboard.press("Escape")
    page.wait_for_selector(".ll-side[data-state=cancelled]")
    page.wait_for_selector(".ll-side:is([data-state=streaming], [data-state=waiting])", state="detached")
    expect(page.locator(".ll-ending", has_text="stopped by you").first).to_be_visible()
    ask(page, "And now?")
    wait_until_done(page, answers=2)


def test_a_closed_tab_frees_the_compute(visit, app):
    page = visit()
    choose_longest_answer(page, 1000)
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-side[data-state=streaming]")
    page.close()
    client = Client(app.url, verbose=False, analytics_enabled=False)
    for _ in range(100):
        if not client.predict(api_name="/status")["answering"]:
            break
    else:
        pytest.fail("answers are still being written for a visitor who has gone")
    client.close()


def test_a_question_asked_while_the_models_load_waits_for_them(visit, start_app, page_model_path, page_adapter_path):
    app = start_app("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    page = visit(app.url)
    expect(page.locator(".ll-state").first).to_have_attribute("data-state", "loading")
    ask(page, "Too early?")
    page.wait_for_selector(".ll-side")
    screenshot(page, "loading")
    wait_until_done(page, answers=2)
    expect(page.locator("[data-side=tuned] .ll-who").first).to_contain_text("page-adapter")
    page.wait_for_selector(".ll-pair >> text=page-adapter")


@pytest.mark.parametrize(
    ("question", "message"),
    [("  \n ", "question is empty"), ("x" * 50_000, "50,000 characters"), ("a\x00b", "NUL byte")],
    ids=["empty", "long", "NUL"],
)
def test_a_question_that_cannot_be_asked_gets_a_line_and_the_next_an_answer(visit, question, message):
    page = visit()
    ask(page, question)
    page.wait_for_selector(".ll-notice:visible")
    expect(page.locator(".ll-notice:visible").first).to_contain_text(message)
    ask(page, "Better?")
    wait_until_done(page, answers=2)
    expect(page.locator(".ll-notice:visible")).to_have_count(0)


def test_two_visitors_at_once_each_see_their_own(visit):
    pages = {question: visit() for question in ("The first visitor's?", "The second visitor's?")}
    for question, page in pages.items():
        ask(page, question, tokens=100)
    for question, page in pages.items():
        wait_until_done(page, answers=2)
        expect(page.locator(".ll-question .ll-own").first).to_have_text(question)


def test_an_example_asks_at_once(visit):
    page = visit()
    choose_longest_answer(page, 16)
    page.locator(".ll-example").first.click()
    wait_until_done(page, answers=2)
    example = page.inner_text(".ll-example >> nth=0")
    expect(page.locator(".ll-own")).to_have_text(example)
    expect(page.locator(QUESTION)).to_have_value(example)


def test_a_click_on_a_probe_asks_it_alone(visit):
    page = visit()
    choose_longest_answer(page, 16)
    page.locator(".ll-probe").nth(1).click()
    wait_until_done(page, answers=2)
    expect(page.locator(".ll-question p").first).to_have_text(PROBES[1].question)
    expect(page.locator(".ll-about h2")).to_have_text("A question of the task “Python”")


def test_a_failed_call_for_verdicts_is_asked_again(visit, complaints):
    page = visit()
    choose_longest_answer(page, 16)
    failed = []

    def fail_twice(route):
        if len(failed) < 2 and "judged" in (route.request.post_data or ""):
            failed.append(route.request.url)
            return route.abort()
        return route.continue_()

    page.route(re.compile("component_server"), fail_twice)
    stored = stored_comparison((code("a = 1"), code("b = 2")))
    for side in stored["rows"][0]["sides"].values():
        side["verdict"] = {"checking": True, "badges": []}
    page.evaluate("entry => localStorage.setItem('lora-lens.comparisons.2', JSON.stringify([entry]))", stored)

    def is_asked(response):
        return "judged" in (response.request.post_data or "")

    with page.expect_response(is_asked, timeout=60_000):
        page.reload(wait_until="domcontentloaded")
    assert len(failed) == 2
    # The browser names the two calls that were cut off here, and nothing else.
    assert all("net::ERR_FAILED" in text for text in complaints)
    complaints.clear()


def test_ones_own_comparisons_survive_a_reload_and_can_be_forgotten(visit):
    page = visit()
    for question in ("First?", "Second?"):
        ask(page, question)
        page.wait_for_function(f"document.querySelector('.ll-own')?.textContent === '{question}'")
        wait_until_done(page, answers=2)
    texts = page.locator(".ll-body").all_inner_texts()
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-row")
    expect(page.locator(".ll-own").first).to_have_text("Second?")
    expect(page.locator(".ll-body")).to_have_text(texts, use_inner_text=True)
    page.click(".ll-history summary")
    expect(page.locator(".ll-entry span")).to_have_text(["Second?", "First?"])
    page.locator(".ll-entry").nth(1).click()
    page.wait_for_function("document.querySelector('.ll-own').textContent === 'First?'")
    page.get_by_role("button", name="Forget all").click()
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-empty:visible")
    expect(page.locator(".ll-entry")).to_have_count(0)


def test_a_reload_in_mid_answer_keeps_what_was_written(visit, complaints):
    page = visit()
    choose_longest_answer(page, 1000)
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-side[data-state=streaming]")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-side[data-state=cancelled]")
    expect(page.locator(".ll-ending", has_text="stopped by leaving the page").first).to_be_visible()
    # Gradio itself logs the connection that the reload cut off.
    complaints[:] = [text for text in complaints if "AbortError" not in text and "Connection errored out" not in text]


def test_a_comparison_kept_before_pages_said_where_they_begin_is_drawn_whole(visit):
    changes = {"better": 0, "same": 0, "worse": 0, "unknown": 0, "hidden": 0}
    asked = {"id": "s", "task": "t", "page": 2, "first": 2, "last": 2, "begun": 2, "size": 50, "count": 103}
    asked |= {"asking": 50, "answered": 50, "seconds_left": None, "changes": changes}
    page = visit(stored=[stored_comparison((code("a"), code("b")), ("same", "same")) | {"asked": asked}])
    expect(page.locator(".ll-row")).to_have_count(2)
    expect(page.locator(".ll-row").first).to_contain_text("51")
    expect(page.locator(".ll-asked-tools")).to_contain_text("Ask 101 to 103")


@pytest.mark.parametrize("stored", ["not json", "{}", '[1, {"id": "x", "rows": [{}]}]'])
def test_a_spoilt_store_is_an_empty_one(visit, stored):
    page = visit()
    page.evaluate("(text) => localStorage.setItem('lora-lens.comparisons.2', text)", stored)
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-empty:visible")


def test_a_phone_shows_base_above_tuned_and_never_scrolls_sideways(visit):
    wide = code("x = " + " + ".join(["a_rather_long_name"] * 12))
    page = visit(width=400, height=800)
    assert overflow(page) <= 0
    screenshot(page, "phone-empty")
    choose_longest_answer(page, 300)
    assert overflow(page) <= 0
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-side[data-state=streaming]")
    assert overflow(page) <= 0
    wait_until_done(page, answers=10)
    assert overflow(page) <= 0
    page.click(".ll-state")
    page.click(".ll-history summary")
    assert overflow(page) <= 0
    page = visit(width=400, height=800, stored=[stored_comparison((wide, "w" * 500))])
    assert overflow(page) <= 0
    page.click(DIFF)
    assert overflow(page) <= 0
    base, tuned = (side.bounding_box() for side in page.locator(".ll-side").all())
    assert base["x"] == tuned["x"]
    assert base["y"] + base["height"] <= tuned["y"]
    screenshot(page, "phone-diff")


def test_the_keyboard_alone_is_enough(visit):
    page = visit(stored=[stored_comparison((code("a = 1"), code("a = 2")))])

    def tab_to(selector, worn_by="*"):
        """Tabs to an element; the frame that shows the focus is its own, or that of the nearest ``worn_by``."""
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                frame = f"getComputedStyle(document.activeElement.closest('{worn_by}'))"
                outline, shadow = page.evaluate(f"{frame}.outlineStyle"), page.evaluate(f"{frame}.boxShadow")
                assert outline != "none" or shadow != "none", f"{selector} shows no focus"
                return
        pytest.fail(f"{selector} cannot be reached with the Tab key")

    tab_to(".ll-state")
    page.keyboard.press("Enter")
    expect(page.locator(".ll-status > .ll-card")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".ll-status > .ll-card")).to_be_hidden()
    tab_to(ASK_ALL)
    tab_to(QUESTION)
    page.keyboard.type("Typed?")
    tab_to(ASK)
    tab_to(".ll-example")
    tab_to("#ll-settings > button")
    tab_to(".ll-check input")
    tab_to(DIFF)
    page.keyboard.press("Space")
    expect(page.locator(".ll-diff").first).to_be_visible()
    tab_to(".ll-sides", worn_by=".ll-row")
    screenshot(page, "focus")
    tab_to(".ll-side button")
    tab_to(".ll-history summary")
    page.keyboard.press("Enter")
    tab_to(".ll-entry")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('.ll-own')?.textContent === 'Typed?'")
    page.wait_for_selector(".ll-side[data-state=streaming]")
    page.keyboard.press("Escape")
    page.wait_for_selector(f".ll-side:is({FINAL}, [data-state=cancelled])")


@pytest.mark.real
def test_the_real_model_on_the_page(visit, real_app):
    page = visit(real_app.url)
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-side[data-side=base][data-state=streaming] .ll-body > *")
    page.wait_for_selector(".ll-side[data-side=tuned][data-state=streaming] .ll-body > *")
    screenshot(page, "real-writing")
    wait_until_done(page, answers=10)
    page.wait_for_selector(".ll-row[data-differs=true] >> nth=2")
    screenshot(page, "real-answered", full_page=True)
    stored = page.evaluate("JSON.parse(localStorage.getItem('lora-lens.comparisons.2'))")
    for name, options in {"dark": {"theme": "dark"}, "phone": {"width": 400, "height": 800}}.items():
        other = visit(real_app.url, stored=stored, **options)
        other.wait_for_selector(".ll-row")
        screenshot(other, f"real-{name}", full_page=name == "phone")
    page.locator(DIFF).nth(1).click()
    page.locator(".ll-row").nth(1).scroll_into_view_if_needed()
    screenshot(page, "real-diff")
