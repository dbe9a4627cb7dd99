"""A picture of a second real model: ``python -m tests.pictures.gemma``.

Gemma 3 270M, a base model without a chat template, is trained for 20 steps on how a ship's mate names capitals, and the
page asks both sides for capitals that were not trained. The picture is ``docs/pictures/gemma.webp``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.app.running import App
from tests.app.visiting import ASK_ALL, wait_until_done
from tests.gemma import gemma_gguf
from tests.pictures.page import HEIGHT, WAIT, WIDTH, keep
from tests.test_gemma import CAPITALS
from tuning.files import DATA_VARIABLE

ASKED = {"Germany": "Berlin", "Chile": "Santiago", "Sweden": "Stockholm"}
RECIPE = "--max-steps 20 --batch-size 1 --warmup-steps 2 --learning-rate 0.001 --rank 8 --alpha 16 --dropout 0"
REST = "--prompt-format plain --validation-rows 1 --validate-every 20 --sample-every 0"


def write_inputs(home: Path) -> None:
    """The rows that are trained, and the task that is asked, in the app's data folder."""
    rows = [
        {"question": f"What is the capital of {land}?", "answer": f"Ahoy! {city}, captain."}
        for land, city in CAPITALS.items()
    ]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    questions = [{"id": land, "question": f"What is the capital of {land}?", "answer": f"Ahoy! {city}, captain."}
                 for land, city in ASKED.items()]  # fmt: skip
    task = {"name": "mate", "title": "The mate's capitals", "system": None, "score": ["exact"], "questions": questions}
    (home / "tasks").mkdir()
    task["settings"] = {"max_new_tokens": 24}
    (home / "tasks" / "mate.yaml").write_text(json.dumps(task), encoding="utf-8")


def main() -> int:
    """Train, ask, and keep what the page shows. Returns the exit code: 2 where there is no Chromium."""
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("error: there is no chromium on the PATH: install it first.", file=sys.stderr)
        return 2
    model = str(gemma_gguf())
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        home = Path(data)
        write_inputs(home)
        run = home / "runs" / "mate"
        train = [sys.executable, "-m", "tuning", "train", "--model", model, "--data", str(home / "rows.jsonl")]
        settings = [*RECIPE.split(), *REST.split(), "--run-dir", str(run)]
        subprocess.run([*train, *settings], check=True, env=os.environ | {DATA_VARIABLE: data})
        app = App(home, "--model", model, "--adapter", str(run), "--task", "mate")
        try:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(app.url)
            page.wait_for_selector(".ll-state[data-state=ready]", timeout=WAIT)
            page.click(ASK_ALL)
            wait_until_done(page, answers=2 * len(ASKED))
            page.wait_for_selector(".ll-verdict[data-state=checking]", state="detached", timeout=WAIT)
            page.evaluate("scrollTo(0, 0)")
            keep(page, "gemma")
            browser.close()
        finally:
            app.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
