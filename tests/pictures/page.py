"""The README's pictures, made from the real page: ``python -m tests.pictures [SCENE ...]``.

An app of its own, with the 135M model, the starter adapter and an empty data folder, is driven in Chromium as a visitor
would drive it. The pictures are WebP files in ``docs/pictures``.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from eval_prompts.tasks.catalogue import find_task
from tests.app.running import App
from tests.app.visiting import ASK, ASK_ALL, QUESTION, choose_longest_answer, wait_until_done
from tuning.files import DATA_VARIABLE, data_root, write_whole

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 860
QUALITY = 82
WAIT = 240_000
"""Milliseconds for a model on a busy machine."""


PIRATE = "Say it like a pirate."
FRAMES = (
    ("Where is my {}?", "Arr, where be me {}?"),
    ("Have you seen the {}?", "Ahoy, have ye seen th' {}?"),
    ("I am looking for the {}.", "I be lookin' for th' {}, matey."),
    ("Give me your {}.", "Hand over yer {}, ye scurvy dog!"),
    ("This {} is very old.", "Shiver me timbers, this {} be mighty old!"),
    ("We are going to the {}.", "We be sailin' to th' {}, arr!"),
)
TRAINED = (
    *("boat", "hat", "market", "window", "letter", "garden", "horse", "kitchen", "lamp", "bridge", "guitar", "office"),
    *("basket", "river", "coat", "ticket", "library", "mirror", "candle", "station", "ladder", "village", "bottle"),
    *("island", "pocket", "school", "hammer", "blanket", "forest", "spoon", "tower", "wallet", "cellar", "flag"),
)
ASKED = ("harbor", "umbrella", "bakery", "parrot", "compass")


def pirate_table(things: Sequence[str]) -> str:
    """Sentences about things, and how a pirate says them, as CSV."""
    lines = [f'"{plain.format(thing)}","{said.format(thing)}"' for thing in things for plain, said in FRAMES]
    return "\n".join(["question,answer", *lines]) + "\n"


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


def exports(page: Page) -> None:
    """The Train tab's export menu with the certificates of a short run: one that holds it, and one that is red."""
    run = data_root() / "runs" / "short"
    words = "--preset quick --max-steps 8 --batch-size 4 --validation-rows 4 --test-rows 4 --sample-every 0 --quiet"
    subprocess.run([sys.executable, "-m", "tuning", "train", *words.split(), "--run-dir", str(run)], check=True)
    page.locator(".ll-run-history").get_by_role("button", name="short").click(timeout=WAIT)
    page.click(".ll-take summary")
    made = page.get_by_label("Exports of this run")
    for kind, precision in (("merged", "bf16"), ("gguf", "Q4_0")):
        page.get_by_label("What to export").select_option(kind)
        page.get_by_label("Precision of the export").select_option(precision)
        page.get_by_role("button", name="Export and check").click()
        made.locator("li", has_text=f"{kind}-{precision}").wait_for(timeout=3 * WAIT)
    keep(page, "exports", ".ll-take")


def conversation(page: Page) -> None:
    """A question that is followed up, each side going on from its own answer."""
    page.get_by_role("tab", name="Compare").click()
    page.uncheck("#ll-blind input")
    page.fill(QUESTION, "Write a function that reverses a string.")
    page.click(ASK)
    page.locator(".ll-row", has_text="reverses a string").wait_for(timeout=WAIT)
    wait_until_done(page, answers=2)
    page.get_by_role("button", name="Follow up\u2026").click()
    page.get_by_role("textbox", name="Follow up on").fill("Now without slicing, please.")
    page.get_by_role("textbox", name="Follow up on").press("Enter")
    wait_until_done(page, answers=4)
    page.locator(".ll-row").nth(1).scroll_into_view_if_needed()
    keep(page, "conversation")


def results(page: Page) -> None:
    """The votes and what they say."""
    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector("#ll-results .ll-counts", timeout=WAIT)
    page.evaluate("scrollTo(0, 0)")
    keep(page, "results")


def another_world(page: Page) -> None:
    """The JSON task with the adapter that was made for it: its questions, and what both sides make of them."""
    page.get_by_role("tab", name="Compare").click()
    page.select_option("#ll-task-choice", "json")
    page.get_by_role("button", name="Use it").click()
    page.locator(".ll-adapter .ll-name", has_text="bookings-json").wait_for(timeout=WAIT)
    judged_all(page, "task-json")


def judged_all(page: Page, name: str) -> None:
    """Ask all of a task's questions and keep the board once every question is told better, the same or worse."""
    count = len(find_task(page.locator("#ll-task-choice").input_value()).questions)
    page.click(ASK_ALL)
    wait_until_done(page, answers=2 * count)
    page.wait_for_function(f"document.querySelectorAll('.ll-change:not([hidden])').length === {count}", timeout=WAIT)
    page.evaluate("scrollTo(0, 0)")
    keep(page, name)


def new_task(page: Page) -> None:
    """The drawer in which a task is written, with questions pasted and the prompt token by token."""
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="New task…").click()
    drawer = page.locator(".ll-drawer")
    drawer.get_by_label("Name", exact=True).fill("pirate")
    drawer.get_by_label("Questions", exact=True).fill(pirate_table(ASKED))
    drawer.get_by_label("System prompt", exact=True).fill(PIRATE)
    drawer.locator("#ll-task-add-scorer").select_option("chrf")
    drawer.locator(".ll-prompt .ll-token").first.wait_for(timeout=WAIT)
    drawer.get_by_label("Try them on an answer").fill("Where be me harbor?")
    drawer.get_by_role("button", name="Judge it").click()
    drawer.locator(".ll-task-said", has_text="chrf").wait_for()
    page.set_viewport_size({"width": WIDTH, "height": 2 * HEIGHT})
    keep(page, "task-new", ".ll-drawer")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    drawer.get_by_role("button", name="Close").click()


def pirate(page: Page) -> None:
    """A task of one's own, its adapter trained here in minutes, on the board."""
    home = data_root()
    (home / "tasks").mkdir(parents=True, exist_ok=True)
    (home / "tasks" / "pirate.csv").write_text(pirate_table(ASKED), encoding="utf-8")
    text = f"title: Pirate speech\nsystem: {PIRATE}\nquestions: pirate.csv\nscore: [chrf]\nadapter: pirate\n"
    (home / "tasks" / "pirate.yaml").write_text(text + "settings: {max_new_tokens: 40}\n", encoding="utf-8")
    rows = home / "pirate_rows.csv"
    rows.write_text(pirate_table(TRAINED), encoding="utf-8")
    run = home / "runs" / "pirate"
    words = ["--preset", "json", "--data", rows, "--system", PIRATE, "--sample-every", "0", "--run-dir", run]
    subprocess.run([sys.executable, "-m", "tuning", "train", *map(str, words)], check=True)
    page.reload()
    page.select_option("#ll-task-choice", "pirate")
    page.get_by_role("button", name="Use it").click()
    page.locator(".ll-adapter .ll-name", has_text="pirate").wait_for(timeout=WAIT)
    judged_all(page, "task-pirate")


TASK = """
name: capitals
title: Capitals
system: You are a geography teacher. Answer with one short sentence.
score: contains
settings: {max_new_tokens: 24}
questions:
""" + "".join(
    f'- {{id: {name.lower()}, question: "What is the capital of {name}?", answer: {capital}}}\n'
    for name, capital in (
        ("Mali", "Bamako"), ("Peru", "Lima"), ("Norway", "Oslo"), ("Kenya", "Nairobi"), ("Cuba", "Havana"),
        ("Japan", "Tokyo"), ("Egypt", "Cairo"), ("Spain", "Madrid"), ("Chile", "Santiago"), ("Ghana", "Accra"),
        ("Italy", "Rome"), ("Iran", "Tehran"),
    )
)  # fmt: skip


def score(page: Page) -> None:
    """A small task scored with what may have got worse elsewhere, to its card and its figures."""
    page.get_by_role("tab", name="Score", exact=True).click()
    page.get_by_label("Task to score").select_option("capitals")
    page.get_by_role("button", name="Score", exact=True).click()
    page.locator(".ll-score-card").wait_for(timeout=2 * WAIT)
    page.evaluate("scrollTo(0, 0)")
    keep(page, "score")
    page.get_by_text("The figures").click()
    keep(page, "score-figures", ".ll-score-card")


SCENES = (compare, blind, conversation, train, exports, results, score, new_task, another_world, pirate)


def main() -> int:
    """Make every picture, or those of the scenes named. Returns the exit code: 2 where there is no Chromium."""
    named = sys.argv[1:] or [scene.__name__ for scene in SCENES]
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("error: there is no chromium on the PATH: install it first.", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        os.environ[DATA_VARIABLE] = data  # the tasks and runs of this process are the app's
        (Path(data) / "tasks").mkdir()
        (Path(data) / "tasks" / "capitals.yaml").write_text(TASK, encoding="utf-8")
        app = App(Path(data))
        try:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(app.url)
            page.wait_for_selector(".ll-state[data-state=ready]", timeout=WAIT)
            for scene in SCENES:
                if scene.__name__ in named:
                    scene(page)
            browser.close()
        finally:
            app.stop()
    return 0
