"""The page in Chromium where the app has failed or gone away: it says so, and what it had stays."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.app.visiting import (
    ASK_ALL,
    ask,
    screenshot,
)

pytestmark = pytest.mark.browser


def test_a_model_that_cannot_be_loaded_is_said_on_the_page(visit, start_app, tmp_path):
    app = start_app("--model", str(tmp_path / "nothing-here"))
    app.wait_for_line("error: ")
    page = visit(app.url)
    page.wait_for_selector(".ll-state[data-state=failed]")
    page.wait_for_selector(".ll-notice:visible")
    page.click(ASK_ALL)
    page.wait_for_function("document.documentElement.dataset.lensBusy !== 'true'")
    (said,) = page.locator(".ll-notice:visible").all_inner_texts()
    assert "nothing-here" in said
    screenshot(page, "failed")


def test_an_app_that_goes_away_is_noticed(visit, complaints, start_app, page_model_path):
    app = start_app("--model", str(page_model_path), "--adapter", "none-of-these")
    page = visit(app.url)
    app.stop()
    page.wait_for_selector(".ll-state[data-state=failed] >> text=no connection", timeout=30_000)
    # What was being fetched when the app went away may have a notice of its own.
    expect(page.locator(".ll-notice:visible", has_text="is app.py still running?").first).to_be_visible()
    complaints.clear()  # the browser logs each of the refused connections


def test_answers_that_a_dead_app_leaves_unfinished_are_shown_as_such(
    visit, complaints, start_app, page_model_path, page_adapter_path
):
    app = start_app("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    app.wait_for_line("is ready on")
    page = visit(app.url)
    ask(page, "Go on for ever", tokens=2000)
    page.wait_for_selector(".ll-side[data-state=streaming]")
    app.process.kill()
    page.wait_for_selector(".ll-side >> text=the server went away >> nth=1", timeout=60_000)
    expect(page.locator(".ll-side[data-state=streaming]")).to_have_count(0)
    page.wait_for_function("document.documentElement.dataset.lensBusy === 'false'")
    complaints.clear()  # the browser logs each of the refused connections
