"""What the browser tests share: the page's parts by name, asking, stored comparisons, screenshots."""

from __future__ import annotations

from pathlib import Path

from eval_prompts.compare_view import Comparison
from eval_prompts.decode import Answer, Settings
from eval_prompts.probes import PROBES
from eval_prompts.service import Lens

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
ASK_ALL, ASK, STOP, QUESTION = "#ll-ask-all", "#ll-ask", "#ll-stop", "#ll-question textarea"
FINAL = "[data-state=ended], [data-state=capped]"


def screenshot(page, name, full_page=False):
    """Leaves a picture in ``test-artifacts/``."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=full_page)


def wait_until_done(page, answers):
    """Waits until that many answers have ended by themselves or hit the cap, and the page offers Ask again."""
    page.wait_for_function(
        f"document.querySelectorAll('.ll-side:is({FINAL})').length === {answers} && "
        "document.documentElement.dataset.lensBusy === 'false'",
        timeout=120_000,
    )


def choose_longest_answer(page, tokens):
    """Sets the token cap in the settings, which stay open."""
    if not page.locator("#ll-settings input[type=number]").first.is_visible():
        page.click("#ll-settings > button")
    field = page.locator("#ll-settings input[type=number]").first
    field.fill(str(tokens))
    field.press("Tab")


def ask(page, question, tokens=16):
    """Asks a question of one's own."""
    choose_longest_answer(page, tokens)
    page.fill(QUESTION, question)
    page.click(ASK)


def overflow(page):
    """By how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def stored_comparison(*rows, ident="stored"):
    """What the page keeps of a comparison with these (base, tuned) texts."""
    questions = [probe.question for probe in PROBES][: len(rows)]
    comparison = Comparison(Lens("a-model").status, Settings(), questions)
    answers = [
        Answer(side, index, questions[index], text, 9, 1.0, 0.2, "ended")
        for index, texts in enumerate(rows)
        for side, text in zip(("base", "tuned"), texts, strict=True)
    ]
    return comparison.view(answers) | {"id": ident}


def code(text):
    """An answer that holds this code."""
    return f"Here:\n\n```python\n{text}\n```"
