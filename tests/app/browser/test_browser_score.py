"""The Score tab in Chromium: begun, watched, read, stopped, found again after the app was killed, resumed, compared."""

from __future__ import annotations

import signal
import time

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from tests.app.visiting import CONTRAST, overflow, screenshot

pytestmark = pytest.mark.browser
LONG_MS = 120_000
"""How long reading all neutral texts may take on a busy machine."""
TASK = """
name: letters
title: Letters
battery: [facts]
system: Write.
score: contains
settings: {max_new_tokens: 16}
questions:
""" + "".join(
    f'- {{id: q{number}, question: "Say {number}", answer: {"aeiou"[number % 5]}, tags: [t{number % 2}]}}\n'
    for number in range(24)
)

FACTS = """
name: facts
title: Facts
show: false
score: {choice: {by: likelihood}}
questions:
""" + "".join(
    f"- {{question: Which {number}?, options: [red, green], answer: red, tags: [t]}}\n" for number in range(6)
)


def open_score(page):
    page.get_by_role("tab", name="Score", exact=True).click()
    page.wait_for_selector("#ll-score .ll-score-form:visible")
    # Gradio's sheet takes the tick off boxes that are not its own: the one that is on by default has to show it.
    expect(page.locator("#ll-score .ll-score-check input")).to_be_checked()
    expect(page.locator("#ll-score .ll-score-check input")).to_have_css("appearance", "auto")


def set_up(data):
    (data / "tasks").mkdir(parents=True, exist_ok=True)
    (data / "tasks" / "letters.yaml").write_text(TASK)
    (data / "tasks" / "facts.yaml").write_text(FACTS)
    return data


def test_a_scoring_is_watched_killed_found_again_and_read(
    visit, start_app, page_model_path, page_adapter_path, tmp_path_factory
):
    data = set_up(tmp_path_factory.mktemp("data"))
    options = ("--model", str(page_model_path), "--adapter", str(page_adapter_path), "--precision", "fp32")
    app = start_app(*options, data=data)
    app.wait_for_line("is ready on")
    page = visit(app.url)
    open_score(page)
    expect(page.locator("#ll-score .ll-empty")).to_contain_text("Nothing has been scored yet: choose a task")
    screenshot(page, "score-empty")
    page.get_by_label("Task to score").select_option("letters")
    page.locator(".ll-score-more summary").click()
    page.get_by_label("Most tokens").fill("nine")
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".ll-score-form .ll-notice")).to_contain_text("The token cap must be a whole number")
    page.get_by_label("Most tokens").fill("400")
    page.get_by_label("and on facts").uncheck()
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".ll-score-now .ll-panel-head .ll-note")).to_contain_text("of 48 answers")

    # Who asks goes first, and so does a vote.
    api = Client(app.url, verbose=False)
    *_, pairs = api.submit("Say?", blind=True, max_new_tokens=4, api_name="/ask_pairs")
    assert api.predict(pairs[0]["pair"], "left", api_name="/rate")["outcome"] in ("base", "tuned")
    assert api.predict(api_name="/scoring")["state"] == "running"

    # Killed, it is found again, and goes on.
    page.close()
    app.process.send_signal(signal.SIGKILL)
    app.process.wait()
    app = start_app(*options, data=data)
    app.wait_for_line("is ready on")
    page = visit(app.url)
    open_score(page)
    expect(page.locator(".ll-score-now .ll-panel-head .ll-note")).to_contain_text("interrupted")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".ll-score-card")).to_be_visible()
    expect(page.locator(".ll-score-card h3")).to_have_text("Cannot tell yet")
    expect(page.locator(".ll-score-rest")).to_contain_text("more questions for one of 5 points")

    # The lists, one question, its answers beside each other.
    total = page.locator(".ll-score-list").first
    expect(total).to_contain_text("24")
    page.get_by_label("Tag").select_option("t1")
    expect(page.locator(".ll-score-row")).to_have_count(12)
    page.get_by_label("Tag").select_option("")
    page.get_by_label("Search questions and answers").fill("Say 13")
    expect(page.locator(".ll-score-row").first).to_contain_text("Say 13")
    page.locator(".ll-score-row").first.click()
    pair = page.locator(".ll-score-pair:visible")
    expect(pair.locator("article")).to_have_count(2)
    expect(pair.locator("article").first).to_contain_text("contain")
    expect(pair.locator(".ll-score-reference pre")).to_have_text("o")
    pair.get_by_role("button", name="Diff").click()
    expect(pair.locator(".ll-diff-line").first).to_be_visible()
    page.get_by_text("The figures").click()
    expect(page.locator(".ll-score-figures")).to_contain_text("exact McNemar p")
    screenshot(page, "score", full_page=True)
    with page.expect_download() as download:
        page.get_by_role("button", name="Report").click()
    assert "Cannot tell yet" in download.value.path().read_text()

    # What may have got worse elsewhere joins it at a press: choices by likelihood, and what is forgotten.
    page.get_by_role("button", name="Run general").click()
    expect(page.locator(".ll-score-now .ll-panel-head .ll-note")).to_contain_text("60 of 60 answers", timeout=LONG_MS)
    expect(page.locator(".ll-score-card")).to_contain_text("Facts", timeout=LONG_MS)
    expect(page.locator(".ll-score-card")).to_contain_text("neutral prose")
    expect(page.get_by_role("button", name="Run general")).to_be_hidden()
    page.locator("#ll-score").get_by_label("Task", exact=True).select_option("facts")
    page.get_by_label("Search questions and answers").fill("Which 3")
    page.locator(".ll-score-row").first.click()
    expect(page.locator(".ll-score-pair:visible article").first).to_contain_text("nats")
    expect(page.locator(".ll-score-pair:visible article").first).to_contain_text("nothing was written")
    screenshot(page, "score-general", full_page=True)

    # A second one, compared with the first; and the same on a phone and in the dark.
    api = Client(app.url, verbose=False)
    first = api.predict(api_name="/scorings")[0]["scoring"]
    second = api.predict("letters", {"limit": 5, "battery": False, "max_new_tokens": 8}, api_name="/start_scoring")
    while api.predict(second, api_name="/scoring")["state"] == "running":
        time.sleep(0.05)
    page.reload()
    open_score(page)
    for name in (first, second):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("button", name="Compare the two ticked").click()
    expect(page.locator(".ll-score-against")).to_contain_text("on 5 questions")
    with pytest.raises(Exception, match="has finished"):
        api.predict(first, api_name="/resume_scoring")
    for theme, width in (("dark", 1280), ("light", 390)):
        other = visit(app.url, theme=theme, width=width)
        open_score(other)
        other.wait_for_selector(".ll-score-row")
        other.locator(".ll-score-row").first.click()
        other.wait_for_selector(".ll-score-pair article")
        assert [found for found in other.evaluate(CONTRAST) if found[0] < 4.5] == []
        assert overflow(other) <= 0
        screenshot(other, f"score-{theme}-{width}", full_page=True)
