"""A class behind one address, as its visitors see it: blind always, results and training the owner's; and what stands
where on a page of one question."""

from __future__ import annotations

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import expect

from eval_prompts.tabs.results_tab import VOTING_IS_OPEN
from tests.app.running import PASSWORD
from tests.app.visiting import HELD, SAVED, ask, overflow, screenshot

pytestmark = pytest.mark.browser

NEWER_FIRST = """async () => {
    const root = document.body.appendChild(document.createElement("div"));
    root.id = "results-of-now";
    LoraLens.mountResults(root, held);
    while (!calls.length) await new Promise(requestAnimationFrame);
    LoraLens.votesChanged();
    calls.at(-1).answer({ problem: "of now" });
    for (const call of calls.slice(0, -1)) call.answer({ problem: "of before" });
    for (let turn = 0; turn < 5; turn += 1) await null;
    return [calls.length > 1, root.querySelector(".ll-notice").textContent];
}"""
"""Two looks at the results, of which the one that was asked first answers last."""


def test_pupils_vote_blind_and_see_what_is_theirs(start_app, browser, page_model_path, page_adapter_path):
    app = start_app(
        "--model", str(page_model_path), "--adapter", str(page_adapter_path), "--auth", PASSWORD,
        "--blind", "always", "--results", "owner", "--per-visitor-limits", "session",
    )  # fmt: skip
    app.wait_for_line("is ready on")
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.goto(app.url, wait_until="domcontentloaded")
    page.wait_for_selector("#ll-header [data-side=base] >> text=page-model")
    expect(page.locator("#ll-tab-train-button")).to_be_hidden()
    assert page.locator("#ll-header .ll-dot").first.evaluate("dot => getComputedStyle(dot).animationName") == "none"
    blind = page.locator("#ll-blind input")
    expect(blind).to_be_checked()
    expect(blind).to_be_disabled()

    said = page.evaluate(
        "[7, 11, 22].map((place) => LoraLens.boardParts.waitingWords({ ahead: 6, place, at_once: 4 }))"
    )
    assert said[0] == "You are 7th in line: 6 answers of others come first; the server writes 4 at a time."
    assert [words.split()[2] for words in said] == ["7th", "11th", "22nd"]

    ask(page, "Write hello", tokens=16)
    row = page.locator(".ll-row").first
    expect(page.locator(".ll-tally")).to_contain_text("blind: your vote tells who is who", timeout=60_000)
    expect(row.locator(".ll-label").first).to_contain_text("A")
    page.wait_for_function("document.documentElement.dataset.lensBusy === 'false'")
    screenshot(page, "class-blind")
    bottom = row.locator(".ll-votes").evaluate("bar => bar.getBoundingClientRect().bottom")
    assert bottom <= 900, "the vote bar is cut off"
    row.locator("[data-choice=tie]").click()
    expect(row.locator(".ll-said")).to_contain_text(SAVED)
    badges = row.locator(".ll-badges").evaluate_all("bars => bars.map((bar) => bar.getBoundingClientRect().top)")
    assert len(set(badges)) == 1
    row.get_by_role("button", name="Undo").click()
    expect(row.locator(".ll-choice").first).to_be_focused()
    for badge in row.locator(".ll-verdict[data-state=good], .ll-verdict[data-state=bad]").all():
        assert badge.locator(".ll-offscreen").inner_text().strip() in ("good:", "bad:")

    page.get_by_role("tab", name="Results").click()
    expect(page.locator("#ll-results .ll-notice")).to_have_text(VOTING_IS_OPEN)
    page.evaluate(HELD)
    assert page.evaluate(NEWER_FIRST) == [True, "of now"]
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("tab", name="Compare").click()
    assert overflow(page) == 0
    screenshot(page, "class-phone")
    page.goto(f"{app.url.rstrip('/')}/owner")
    expect(page.locator("input[type=password]")).to_be_visible()
    assert page.evaluate("document.styleSheets.length") > 0
    assert overflow(page) == 0
    screenshot(page, "class-owner")
    page.close()

    client = Client(app.url, verbose=False, download_files=False)
    for endpoint in ("/results", "/scorings", "/scoring"):
        with pytest.raises(AppError, match="Results are shown once voting is over"):
            client.predict(api_name=endpoint)
    client.close()
