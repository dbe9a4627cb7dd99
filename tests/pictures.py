"""The README's pictures, made from the real page: ``python -m tests.pictures``.

An app of its own, with the 135M model, the starter adapter and an empty data folder, is driven in Chromium as a visitor
would drive it. The pictures are WebP files in ``docs/pictures``.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.app.running import App
from tests.app.visiting import ASK, ASK_ALL, QUESTION, choose_longest_answer, wait_until_done
from tuning.files import write_whole

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 860
QUALITY = 82
WAIT = 240_000
"""Milliseconds for a model on a busy machine."""


def keep(page: Page, name: str, part: str | None = None) -> None:
    """Write what the window, or the first element of a selector, shows as ``docs/pictures/NAME.webp``."""
    taken = page.locator(part).first.screenshot() if part else page.screenshot()
    content = io.BytesIO()
    Image.open(io.BytesIO(taken)).convert("RGB").save(content, "WEBP", quality=QUALITY, method=6)
    write_whole(FOLDER / f"{name}.webp", content.getvalue())
    print(FOLDER / f"{name}.webp", f"{len(content.getvalue()) / 1024:.0f} KB")


def compare(page: Page) -> None:
    """Answers while they stream, then with badges, a diff and votes."""
    choose_longest_answer(page, 160)
    page.click("#ll-settings > button")
    page.click(ASK_ALL)
    page.wait_for_function("document.querySelectorAll('.ll-side .ll-line').length > 24", timeout=WAIT)
    keep(page, "streaming")
    wait_until_done(page, answers=10)
    page.wait_for_selector(".ll-verdict[data-state=checking]", state="detached", timeout=WAIT)
    row = page.locator(".ll-row").nth(1)
    row.locator(".ll-verdict").first.scroll_into_view_if_needed()
    keep(page, "badges", ".ll-row:nth-child(2)")
    row.get_by_role("button", name="Diff").click()
    keep(page, "diff", ".ll-row:nth-child(2)")
    for index, choice in enumerate(("right", "tie", "left", "right", "both_bad")):
        page.locator(".ll-row").nth(index).locator(f"[data-choice={choice}]").click()
        page.locator(".ll-row").nth(index).locator(".ll-said", has_text="saved").wait_for()


def blind(page: Page) -> None:
    """A question of one's own, with names hidden."""
    page.check("#ll-blind input")
    page.fill(QUESTION, "Count how often each word occurs in a text.")
    page.click(ASK)
    page.wait_for_function("document.querySelectorAll('.ll-row').length === 1")
    wait_until_done(page, answers=2)
    page.evaluate("scrollTo(0, 0)")
    keep(page, "blind", ".ll-row")
    page.click("[data-choice=right]")
    page.locator(".ll-said", has_text="saved").wait_for()


def train(page: Page) -> None:
    """A run of the tiny model, from its form to its curve."""
    page.get_by_role("tab", name="Train").click()
    page.locator("input[name=ll-preset][value=smoke]").check()
    page.fill("#ll-field-name", "first-try")
    page.get_by_role("button", name="Start training").click()
    page.locator(".ll-run-state[data-state=finished]").first.wait_for(timeout=WAIT)
    page.evaluate("scrollTo(0, 0)")
    keep(page, "training")


def results(page: Page) -> None:
    """The votes and what they say."""
    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector("#ll-results .ll-counts", timeout=WAIT)
    page.evaluate("scrollTo(0, 0)")
    keep(page, "results")


def main() -> int:
    """Make every picture. Returns the exit code: 2 where there is no Chromium."""
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("error: there is no chromium on the PATH: install it first.", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        app = App(Path(data))
        try:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(app.url)
            page.wait_for_selector(".ll-state[data-state=ready]", timeout=WAIT)
            for scene in (compare, blind, train, results):
                scene(page)
            browser.close()
        finally:
            app.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
