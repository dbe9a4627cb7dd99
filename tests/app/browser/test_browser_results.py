"""The Results tab in Chromium: votes counted, wide and narrow, and taken away."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.app.visiting import (
    ASK_ALL,
    CONTRAST,
    ask,
    choose_longest_answer,
    open_results,
    overflow,
    screenshot,
    wait_until_done,
    wait_until_saved,
)

pytestmark = pytest.mark.browser


def counts(page):
    """The bar of all votes that the Results tab shows; its label has their counts."""
    return page.locator("#ll-results .ll-groups .ll-counts").first


def test_results_start_empty_count_each_vote_and_can_be_exported(visit, fresh):
    page = visit(fresh.url)
    open_results(page)
    expect(page.locator(".ll-headline").first).to_contain_text("No votes yet: ask, then press 1-4")
    screenshot(page, "results-empty")
    page.get_by_role("tab", name="Compare").click()
    choose_longest_answer(page, 24)
    page.click(ASK_ALL)
    wait_until_done(page, answers=10)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    for row, key in enumerate("2213"):
        page.locator(".ll-row").nth(row).focus()
        page.keyboard.press(key)
        wait_until_saved(page, row)
    open_results(page)
    page.wait_for_selector("#ll-results .ll-counts")
    expect(counts(page)).to_have_attribute("aria-label", "base is better 1, tie 1, both are bad 0, tuned is better 2")
    expect(page.locator(".ll-headline").first).to_contain_text("No blind votes yet")
    page.get_by_label("Which votes").select_option("all")
    learn = page.locator("#ll-results section", has_text="Learn from the votes")
    expect(learn).to_contain_text("3 votes on the example questions, which stay for comparing; 1 vote for no side")
    expect(learn).to_contain_text("There is nothing to learn from yet.")
    expect(learn.get_by_role("button")).to_be_disabled()
    page.wait_for_selector("#ll-results tbody tr >> nth=4")
    page.wait_for_selector(".ll-past >> nth=3")
    for theme in ("light", "dark"):
        other = visit(fresh.url, theme=theme)
        open_results(other)
        other.wait_for_selector("#ll-results .ll-counts")
        assert [pair for pair in other.evaluate(CONTRAST) if pair[0] < 4.5] == []
        screenshot(other, f"results-{theme}", full_page=True)
    for name, start in {"CSV": b"", "JSONL": b"{", "Parquet": b"PAR1"}.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        content = download.value.path().read_bytes()
        assert content.startswith(start)
        assert len(content) > 100
        assert download.value.suggested_filename.endswith(name.lower())
    with page.expect_download() as download:
        page.get_by_role("button", name="Preference pairs").click()
    assert download.value.suggested_filename == "lora-lens-preferences.jsonl"
    page.wait_for_selector("text=1 of 4 votes prefer no side and are left out: 1 tie")
    assert overflow(page) <= 0


def test_results_fit_a_phone(visit, app):
    page = visit(width=400, height=800)
    ask(page, "On the phone?")
    wait_until_done(page, answers=2)
    page.get_by_role("button", name="Both are bad").click()
    wait_until_saved(page)
    assert overflow(page) <= 0
    open_results(page)
    page.wait_for_selector("#ll-results .ll-counts")
    assert overflow(page) <= 0
    screenshot(page, "results-phone", full_page=True)
