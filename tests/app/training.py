"""What the tests of the Train tab share: quick data, a form filled for it, and waiting."""

from __future__ import annotations

import json
import re
import time

from playwright.sync_api import expect

RUN = ".ll-run"
STATE = ".ll-run .ll-run-head .ll-run-state"
LOSS = ".ll-run .ll-chart >> nth=0"
LONG = 100_000


def write_rows(folder):
    """A small data file of which every step is quick."""
    path = folder / "rows.csv"
    rows = [f'"question {word} {index}","answer {index}"' for index in range(12) for word in ("one", "two", "three")]
    path.write_text("prompt,completion\n" + "\n".join(rows) + "\n")
    return path


def settings(model, data, **changes):
    """Overrides of the smoke preset for the page's model."""
    quick = {
        "model": str(model),
        "data": str(data),
        "max_steps": 6,
        "sample_every": 3,
        "sample_tokens": 6,
        "threads": 1,
    }
    return quick | changes


def open_train(page):
    """Goes to the Train tab."""
    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector(".ll-form")


def fill(page, chosen):
    """The smoke preset with other settings, through the form."""
    page.check(".ll-preset input[value=smoke]")
    if not page.locator("#ll-field-threads").is_visible():
        page.click(".ll-form summary:has-text('More settings')")
    for name, value in chosen.items():
        page.fill(f"#ll-field-{name}", str(value))


def begin(page, chosen):
    """Fills the form and starts; returns the run's name once it trains."""
    fill(page, chosen)
    start = page.get_by_role("button", name="Start training")
    expect(start).to_be_enabled()
    start.click()
    wait_state(page, "running")
    return page.inner_text(f"{RUN} h2")


def wait_state(page, state, seconds=60):
    """Waits until the run on show stands so."""
    page.wait_for_selector(f"{STATE}[data-state={state}]", timeout=seconds * 1000)


def steps_drawn(page):
    """The last step in the loss chart, or 0."""
    label = page.locator(f"{LOSS} >> svg").get_attribute("aria-label") if page.locator(f"{LOSS} >> svg").count() else ""
    return int(label.split(" over ")[1].split(" ")[0]) if label else 0


def wait_for(condition, seconds=60):
    """Waits until ``condition()`` is true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


def preview_once(page, told):
    """Has the server look at data once: a page that shows the same settings another way is told what it said before.
    ``told`` holds that by what was asked."""

    def tell(route):
        asked = route.request.post_data_json
        if asked["fn_name"] != "preview":
            return route.continue_()
        key = json.dumps(asked["data"], sort_keys=True)
        if key not in told:
            told[key] = route.fetch(timeout=60_000).text()
        return route.fulfill(body=told[key], content_type="application/json")

    page.route(re.compile("component_server"), tell)
