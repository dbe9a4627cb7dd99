"""What the browser tests share: the page's parts by name, asking, stored comparisons, screenshots."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from eval_prompts.answers import Answer
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.tasks.probes import PROBES
from tests.eval_prompts.showing.showings import showing_of

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
ASK_ALL, ASK, STOP, QUESTION = "#ll-ask-all", "#ll-ask", "#ll-stop", "#ll-question textarea"
DIFF = ".ll-toggle:not(.ll-tokens-toggle, .ll-sure-toggle)"
FINAL = "[data-state=ended], [data-state=capped]"
SAVED = "✓ saved"

HELD = """() => {
    window.calls = [];
    const call = (name) => (sent) => new Promise((answer) => calls.push({ name, sent, answer }));
    window.held = new Proxy({}, { get: (_, name) => call(name) });
}"""
"""Makes ``held``, a server whose functions never answer by themselves: what was called is in ``calls``, and
``calls[n].answer(value)`` answers it."""


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
    field.wait_for()
    # Gradio puts its value into a field in the frame after it is laid out: nobody but a test types faster.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    field.fill(str(tokens))
    field.press("Tab")
    expect(field).to_have_value(str(tokens))


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
    showing = showing_of(questions, Lens(LocalLoader("a-model")).status)
    answers = [
        Answer(side, index, questions[index], text, 9, 1.0, 0.2, "ended")
        for index, texts in enumerate(rows)
        for side, text in zip(("base", "tuned"), texts, strict=True)
    ]
    view = showing.view(answers) | {"id": ident}
    for row in view["rows"]:
        row["pair"] = None  # as before answers could be voted on
        for side in row["sides"].values():
            side["verdict"] = None
    return view


def code(text):
    """An answer that holds this code."""
    return f"Here:\n\n```python\n{text}\n```"


CONTRAST = """() => {
    const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const numbers = (css) => css.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (e) => {
        for (; e; e = e.parentElement) {
            const colour = numbers(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const found = [];
    for (const e of document.querySelectorAll("#ll-header *, #ll-board *, #ll-ask-bar *, #ll-results *, #ll-score *")) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        const shown = e.checkVisibility({ visibilityProperty: true });
        if (!own || !shown || e.closest(":disabled, .ll-offscreen, .sr-only")) continue;
        const [a, b] = [luminance(numbers(getComputedStyle(e).color)), luminance(ground(e))];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.className, e.textContent.slice(0, 30)]);
    }
    return found;
}"""
"""For each text on the page: its contrast with its ground (WCAG 2), its class and its beginning."""


def wait_until_saved(page, row=0):
    page.wait_for_function(f"document.querySelectorAll('.ll-said')[{row}].textContent.startsWith('{SAVED}')")


def open_results(page):
    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector("#ll-results .ll-headline:not(:empty)")
