"""Pictures of the lens and of data previews for the docs: ``python -m tests.pictures.lens [SCENE ...]``.

As in :mod:`tests.pictures.page`, an app of its own with the 135M model, the starter adapter and an empty data folder is
driven in Chromium. Without names every scene is made.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.app.running import App
from tests.app.visiting import choose_longest_answer, overflow, wait_until_done
from tests.pictures.page import FOLDER, HEIGHT, WAIT, WIDTH, keep
from tuning.files import DATA_VARIABLE, data_root

PHONE = 390, 844
MARGIN = """
.ll-survey-found, .ll-table-frame { width: fit-content; }
.ll-survey-found, .ll-table-frame, #ll-train .ll-preview { padding: 0.5rem; }
"""
"""What keeps a part of a page from its picture's edges."""
TASK = r"""
name: code-alone
title: Code and nothing else
system: Answer the Python question with code only.
score: [{regex: {pattern: '^```python[^`]*return[^`]*```\s*$'}}, ends]
settings: {max_new_tokens: 48}
questions:
""" + "".join(
    f'- {{id: {name}, question: "Write a Python function {name}({given}) that returns {wanted}."}}\n'
    for name, given, wanted in (
        ("square", "x", "the square of x"), ("last", "items", "the last item of a list"),
        ("shout", "text", "a text in capitals"), ("total", "numbers", "the sum of some numbers"),
        ("backwards", "text", "a text from its end to its beginning"), ("largest", "a, b", "the larger of two numbers"),
    )
)  # fmt: skip
THINGS = ("kettle", "bicycle", "ladder", "telescope", "violin", "compass", "lantern", "piano", "trumpet", "hammer")
OWNERS = ("a sailor", "a baker", "a teacher", "a doctor", "a farmer", "a painter")


def sharegpt_rows() -> str:
    """ShareGPT's conversations, of two turns each: every second has a turn that is not trained, one row an image."""
    rows: list[dict[str, object]] = []
    for number, (thing, owner) in enumerate((thing, owner) for thing in THINGS for owner in OWNERS):
        again = {"from": "gpt", "value": f"It holds what {owner} puts on it: a {thing} of two kilograms is no trouble."}
        turns = [
            {"from": "human", "value": f"Where would {owner} keep a {thing}?"},
            {"from": "gpt", "value": "Dunno." if number % 2 else f"On a shelf by the door, so that {owner} finds it."},
            {"from": "human", "value": "Is the shelf strong enough?"},
            again,
        ]
        if number % 2:
            turns[1] |= {"weight": 0}
        rows.append({"conversations": turns})
    asked = {"from": "human", "value": "What is in this picture?"}
    rows.insert(2, {"conversations": [asked, {"from": "gpt", "value": "A kettle."}], "image": "kettle.jpg"})
    return "".join(json.dumps(row) + "\n" for row in rows)


def alpaca_table() -> str:
    """Questions with a context, in columns whose names tell nothing."""
    lines = [
        f'{number},"Who owns the {thing}?","The {thing} in the hall belongs to {owner}.","{owner[2:].capitalize()}."'
        for number, (thing, owner) in enumerate((thing, owner) for thing in THINGS for owner in OWNERS)
    ]
    return "\n".join(["nr,aufgabe,kontext,loesung", *lines]) + "\n"


def preference_rows() -> str:
    """Answers that are preferred, and those that are not, behind the same question."""
    return "".join(
        json.dumps(
            {
                "prompt": f"May {owner} borrow the {thing}?",
                "chosen": f"Of course. Please bring the {thing} back on Friday.",
                "rejected": "No.",
            }
        )
        + "\n"
        for thing in THINGS
        for owner in OWNERS
    )


def opened(browser: Browser, url: str, size: tuple[int, int] = (WIDTH, HEIGHT), theme: str = "light") -> Page:
    """A visitor's page once the models are there."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    page.goto(f"{url}?__theme={theme}")
    page.wait_for_selector(".ll-state[data-state=ready]", timeout=WAIT)
    return page


def framed(page: Page, part: str, name: str) -> None:
    """Keep a part of the page, in a window that holds all of it."""
    height = page.locator(part).first.bounding_box()["height"]
    page.set_viewport_size({"width": page.viewport_size["width"], "height": int(height) + 40})
    page.evaluate("part => document.querySelector(part).scrollIntoView({ block: 'start' })", part)
    keep(page, name, part)


def tokens_of_fibonacci(page: Page) -> None:
    """The starter's answer to the Fibonacci probe, read by both models, and the token at which both part."""
    choose_longest_answer(page, 120)
    page.click("#ll-settings > button")
    page.get_by_role("button", name="Fibonacci series").first.click()
    page.wait_for_function("document.querySelectorAll('.ll-row').length === 1")
    wait_until_done(page, answers=2)
    page.click(".ll-tokens-toggle")
    page.locator("#ll-board .ll-token").first.wait_for(timeout=WAIT)
    page.locator("#ll-board .ll-part + .ll-token-block .ll-token").last.scroll_into_view_if_needed()
    page.locator("#ll-board .ll-side").last.locator(".ll-part + .ll-token-block .ll-token").first.click()
    page.locator("#ll-board .ll-token-panel table").first.wait_for()


def lens(browser: Browser, url: str) -> None:
    """The row's tokens, on a desktop and on a phone."""
    page = opened(browser, url)
    tokens_of_fibonacci(page)
    framed(page, ".ll-row", "lens-tokens")
    page.close()
    page = opened(browser, url, PHONE)
    tokens_of_fibonacci(page)
    page.set_viewport_size({"width": PHONE[0], "height": 1000})
    page.evaluate("document.querySelector('.ll-side[data-side=tuned]').scrollIntoView({ block: 'start' })")
    keep(page, "lens-phone")
    if overflow(page) > 0:
        print(f"lens-phone: {overflow(page)} pixels wider than the phone", file=sys.stderr)
    page.close()


def finished_survey(page: Page, button: str, over: str, limit: str, name: str) -> None:
    """Start a survey on the Lens tab and wait until it, and no other that is kept, stands there as finished."""
    page.get_by_role("tab", name="Lens").click()
    page.select_option("#ll-survey-source", over)
    page.fill("#ll-survey-limit", limit)
    page.get_by_role("button", name=button).click()
    state = page.locator(".ll-surveys p[role=status]", has_text=name).filter(has_text="finished")
    state.wait_for(timeout=3 * WAIT)


def ends(browser: Browser, url: str) -> None:
    """Figures over held-out rows, and where tuning made the end of the answer likelier."""
    page = opened(browser, url)
    finished_survey(page, "Measure the set", "data held-out", "40", "Figures over")
    page.add_style_tag(content=MARGIN)
    framed(page, ".ll-table-frame", "lens-figures")
    framed(page, ".ll-table-frame:has(code):last-of-type", "lens-ends")
    page.close()


def adapter(browser: Browser, url: str) -> None:
    """What the starter does to the weights, in light and in dark."""
    for theme in ("light", "dark"):
        page = opened(browser, url, (WIDTH, 1440), theme)
        page.click(".ll-adapter-button")
        page.locator(".ll-heat td").first.wait_for(timeout=WAIT)
        page.locator(".ll-heat td").nth(3).hover()
        keep(page, f"adapter-{theme}", ".ll-adapter-card")
        page.close()


def curve(browser: Browser, url: str) -> None:
    """Score and what is forgotten against the adapter's strength."""
    page = opened(browser, url)
    page.get_by_role("tab", name="Lens").click()
    page.fill("#ll-survey-strengths", "0, 0.25, 0.5, 1, 1.5")
    finished_survey(page, "Draw the curve of strength", "task code-alone", "6", "Curve of strength over")
    page.add_style_tag(content=MARGIN)
    framed(page, ".ll-survey-found", "strength-curve")
    page.close()


def previews(browser: Browser, url: str) -> None:
    """The Train tab's previews of data that is not as the project's own."""
    home = data_root()
    files = {
        "sharegpt": ("talks.jsonl", sharegpt_rows()),
        "columns": ("alpaca.csv", alpaca_table()),
        "preferences": ("preferences.jsonl", preference_rows()),
    }
    for kind, (file, text) in files.items():
        (home / file).write_text(text, encoding="utf-8")
        for theme in ("light", "dark") if kind == "columns" else ("light",):
            page = opened(browser, url, theme=theme)
            page.get_by_role("tab", name="Train").click()
            page.locator("input[name=ll-preset][value=quick]").check()
            if kind == "preferences":
                page.click(".ll-form summary:has-text('More settings')")
                page.select_option("#ll-field-objective", "dpo")
                page.click(".ll-form summary:has-text('More settings')")
            page.set_input_files(".ll-data input[type=file]", home / file)
            page.locator(".ll-preview").wait_for(timeout=WAIT)
            if kind == "columns":
                page.locator(".ll-data-columns select").first.wait_for()
                for column, role in (("aufgabe", "question"), ("kontext", "context"), ("loesung", "answer")):
                    page.get_by_label(f"Role of the column {column}").select_option(role)
                page.get_by_role("button", name="Use these roles").click()
            page.locator(".ll-data-samples article").nth(2).wait_for(timeout=WAIT)
            page.locator(".ll-data-tools").get_by_text("reading and encoding").wait_for(state="detached", timeout=WAIT)
            page.add_style_tag(content=MARGIN)
            framed(page, ".ll-preview", f"preview-{kind}{'-dark' if theme == 'dark' else ''}")
            page.close()


SCENES: dict[str, Callable[[Browser, str], None]] = {
    "lens": lens, "ends": ends, "adapter": adapter, "curve": curve, "previews": previews,
}  # fmt: skip


def main(names: list[str]) -> int:
    """Make the named pictures, or all. Returns the exit code: 2 where there is no Chromium, or no such scene."""
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("error: there is no chromium on the PATH: install it first.", file=sys.stderr)
        return 2
    if unknown := [name for name in names if name not in SCENES]:
        print(f"error: there is no scene {unknown[0]}: name some of {', '.join(SCENES)}.", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        os.environ[DATA_VARIABLE] = data
        (Path(data) / "tasks").mkdir()
        (Path(data) / "tasks" / "code-alone.yaml").write_text(TASK, encoding="utf-8")
        app = App(Path(data))
        try:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            for name in names or SCENES:
                SCENES[name](browser, app.url)
            browser.close()
        finally:
            app.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
