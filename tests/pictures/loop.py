"""The loop from votes to the next blind round: ``python -m tests.pictures.loop --data DIR [--checkpoints RUN]``.

``DIR`` is what ``python -m tests.benchmarks.docstring_votes --out DIR`` left: its votes, and the run that learned from
them. The pictures are ``loop-votes``, ``loop-run`` and ``loop-round`` in ``docs/pictures``. ``--checkpoints`` names a
run in ``DIR`` whose checkpoints were scored (``python -m eval_prompts score --checkpoints``), and makes the picture
``checkpoints`` alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.app.running import App
from tests.app.visiting import ASK_ALL, FINAL, STOP, choose_longest_answer
from tests.pictures.page import HEIGHT, WAIT, WIDTH, keep
from tuning.files import DATA_VARIABLE


def votes(page: Page) -> None:
    """What the votes teach, and the button that starts the run."""
    page.get_by_role("tab", name="Results").click()
    panel = page.locator(".ll-panel", has_text="Learn from the votes")
    panel.get_by_role("button", name="Train on these votes", disabled=False).wait_for(timeout=WAIT)
    panel.evaluate("panel => panel.classList.add('ll-pictured')")
    keep(page, "loop-votes", ".ll-pictured")


def run(page: Page) -> None:
    """The run that learned from them, with the question that it leaves open."""
    page.get_by_role("tab", name="Train").click()
    page.locator(".ll-run-history button", has_text="quick").first.click(timeout=WAIT)
    page.get_by_role("button", name="Blind round").wait_for(timeout=WAIT)
    page.evaluate("scrollTo(0, 0)")
    keep(page, "loop-run")


def blind_round(page: Page) -> None:
    """A question that was held out, asked of the adapters before and after, names hidden."""
    page.get_by_role("button", name="Blind round").click()
    page.wait_for_selector("#ll-blind input:checked", timeout=WAIT)
    page.wait_for_selector(".ll-state[data-state=ready]", timeout=WAIT)
    choose_longest_answer(page, 160)
    page.click(ASK_ALL, timeout=WAIT)
    ended = f"document.querySelectorAll('.ll-row:first-child .ll-side:is({FINAL})').length === 2"
    page.wait_for_function(ended, timeout=WAIT)
    page.click(STOP)
    page.evaluate("scrollTo(0, 0)")
    keep(page, "loop-round", ".ll-row")


def checkpoints(page: Page, name: str) -> None:
    """Losses of a run, and what its checkpoints score and forget."""
    page.get_by_role("tab", name="Train").click()
    page.locator(".ll-run-history").get_by_role("button", name=name, exact=True).click(timeout=WAIT)
    page.get_by_role("button", name="Use this one").first.wait_for(timeout=WAIT)
    keep(page, "checkpoints", ".ll-run > .ll-panel")


def main() -> int:
    """Make the pictures. Returns the exit code: 2 where there is no Chromium."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures.loop")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--checkpoints", metavar="RUN")
    options = parser.parse_args()
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("error: there is no chromium on the PATH: install it first.", file=sys.stderr)
        return 2
    os.environ[DATA_VARIABLE] = str(options.data)
    with sync_playwright() as playwright:
        app = App(options.data)
        try:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(app.url)
            page.wait_for_selector(".ll-state[data-state=ready]", timeout=WAIT)
            if options.checkpoints:
                checkpoints(page, options.checkpoints)
            else:
                for scene in (votes, run, blind_round):
                    scene(page)
            browser.close()
        finally:
            app.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
