"""Pictures of scorings: ``python -m tests.pictures.scored [SUITE]``.

An adapter that was trained to forget (a hundred times the usual rate) on the first questions of the built-in suite, and
with ``SUITE`` (questions with tests, in the format of MBPP) the starter on all of it, each beside the general battery
and what was forgotten, as the Score tab shows them afterwards. Everything is run by the project's own commands, into a
data folder of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.app.running import App
from tests.pictures.page import HEIGHT, WAIT, WIDTH, keep
from tuning.files import DATA_VARIABLE

FORGETFUL = "--preset quick --max-steps 24 --batch-size 8 --learning-rate 0.05 --validation-rows 4 --test-rows 4"


def command(module: str, words: str, *paths: str | Path) -> None:
    """Run one of the project's commands; ``paths`` follow its last option."""
    subprocess.run([sys.executable, "-m", module, *words.split(), *map(str, paths)], check=True)


def opened(page: Page, row: int) -> None:
    """Open one of all scorings on the Score tab and wait for its card."""
    page.get_by_role("tab", name="Score", exact=True).click()
    page.locator(".ll-score-history tbody tr").nth(row).get_by_role("button").first.click(timeout=WAIT)
    page.locator(f".ll-score-history tbody tr:nth-child({row + 1}) [aria-current=true]").wait_for(timeout=WAIT)
    page.locator(".ll-score-card").wait_for(timeout=WAIT)
    page.evaluate("scrollTo(0, 0)")


def main() -> int:
    """Score, and make the pictures. Returns the exit code: 2 where there is no Chromium."""
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("error: there is no chromium on the PATH: install it first.", file=sys.stderr)
        return 2
    suite = sys.argv[1:2]
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        os.environ[DATA_VARIABLE] = data
        names = []
        if suite:
            command("eval_prompts", "score --also general --forgetting --suite", suite[0])
            names.append("score-suite")
        run = Path(data) / "runs" / "forgetful"
        command("tuning", f"train {FORGETFUL} --sample-every 0 --quiet --run-dir", run)
        command("eval_prompts", "score --task python-suite --limit 40 --adapter", run)
        names.append("score-forgetful")
        app = App(Path(data))
        try:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(app.url)
            page.wait_for_selector(".ll-state[data-state=ready]", timeout=WAIT)
            for row, name in enumerate(reversed(names)):  # the newest comes first
                opened(page, row)
                keep(page, name)
            browser.close()
        finally:
            app.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
