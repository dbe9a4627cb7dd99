"""A scored suite as a picture: ``python -m tests.pictures.scored SUITE``.

The starter on ``SUITE`` (questions with tests, in the format of MBPP), beside the general battery and what was
forgotten, scored by the project's own command into a data folder of its own, as the Score tab shows it afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.app.running import App
from tests.pictures.page import HEIGHT, WAIT, WIDTH, keep
from tuning.files import DATA_VARIABLE


def main() -> int:
    """Score, and make the pictures. Returns the exit code: 2 where there is no Chromium."""
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("error: there is no chromium on the PATH: install it first.", file=sys.stderr)
        return 2
    (suite,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        os.environ[DATA_VARIABLE] = data
        command = ["score", "--also", "general", "--forgetting", "--suite", suite]
        subprocess.run([sys.executable, "-m", "eval_prompts", *command], check=True)
        app = App(Path(data))
        try:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(app.url)
            page.wait_for_selector(".ll-state[data-state=ready]", timeout=WAIT)
            page.get_by_role("tab", name="Score", exact=True).click()
            page.locator(".ll-score-history tbody button").first.click(timeout=WAIT)
            page.locator(".ll-score-card").wait_for(timeout=WAIT)
            page.evaluate("scrollTo(0, 0)")
            keep(page, "score-suite")
            browser.close()
        finally:
            app.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
