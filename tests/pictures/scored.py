"""A scoring as a picture: ``python -m tests.pictures.scored --suite FILE`` or ``--task NAME``.

An adapter (the starter unless ``--adapter`` names another) on a suite of questions with tests, or on a task, beside the
general battery and what was forgotten: scored by the project's own command into a data folder of its own, as the Score
tab shows it afterwards. ``--data DIR`` shows the latest scoring that lies in a data folder.
"""

from __future__ import annotations

import argparse
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
    options = parsed()
    with tempfile.TemporaryDirectory() as fresh, sync_playwright() as playwright:
        data = os.environ[DATA_VARIABLE] = str(options.data or fresh)
        if options.data is None:
            asked = ["--task", options.task] if options.task else ["--suite", options.suite]
            command = ["score", *asked, "--also", "general", "--forgetting", "--adapter", options.adapter]
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
            keep(page, options.name)
            browser.close()
        finally:
            app.stop()
    return 0


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures.scored")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--suite", metavar="FILE")
    what.add_argument("--task")
    what.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--adapter", default="starter")
    parser.add_argument("--name", default="score-suite", help="of the picture")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
