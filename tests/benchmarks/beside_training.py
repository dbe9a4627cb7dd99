"""The page beside a training run: ``python -m tests.benchmarks.beside_training [--rounds N] [--preset quick]``.

Starts the app on its default model with an empty data folder and opens it in Chromium. Told are the time from a press
of "Ask all five" to text on both sides; how long ``/ask`` takes to the first text of both sides and to the end, idle
and while the preset trains; and how long after each event of the run its line stood in the page's log.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gradio_client import Client
from playwright.sync_api import sync_playwright

from tests.benchmarks.measures.spread import ratios, spread
from tests.benchmarks.startup import PROJECT, free_port, wait_for_page

QUESTION = "Write a function in Python to print the Fibonacci series."
ANSWER_TOKENS = 48
LIMIT_SECONDS = 600
TIMED = ("step", "validation", "sample")
ASK_ALL = """async () => {
    const began = performance.now();
    const bodies = (side) => [...document.querySelectorAll(`[data-side=${side}] .ll-body`)];
    const written = (side) => bodies(side).some((body) => body.textContent.trim());
    document.querySelector("#ll-ask-all").click();
    while (!written("base") || !written("tuned")) await new Promise(requestAnimationFrame);
    return (performance.now() - began) / 1000;
}"""
NOTE_LINES = """() => {
    window.noted = {};
    const note = () => {
        for (const line of document.querySelectorAll(".ll-log > [data-kind]")) {
            const step = line.textContent.match(/step ([\\d,]+)/);
            if (step) window.noted[`${line.dataset.kind} ${step[1].replaceAll(",", "")}`] ??= Date.now() / 1000;
        }
    };
    new MutationObserver(note).observe(document.querySelector(".ll-log"), { childList: true });
}"""
"""Writes down when each line of the log first stood on the page (Unix time, seconds)."""


def wait(happened: Callable[[], Any], what: str) -> Any:
    """What ``happened()`` returns once it is true. Ends the program if that takes too long."""
    until = time.monotonic() + LIMIT_SECONDS
    while not (result := happened()):
        if time.monotonic() > until:
            raise SystemExit(f"{what}: not within {LIMIT_SECONDS} s")
        time.sleep(0.1)
    return result


def ask(client: Client) -> tuple[float, float]:
    """Seconds to the first text of both sides, and to the end of both."""
    began, first = time.perf_counter(), 0.0
    for answers in client.submit(QUESTION, ANSWER_TOKENS, api_name="/ask"):
        if not first and all(answers):
            first = time.perf_counter() - began
    return first, time.perf_counter() - began


def told(run: Path) -> list[dict[str, Any]]:
    """The run's events so far that have a line with a step in the log."""
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] in TIMED]


def latencies(events: Sequence[dict[str, Any]], noted: dict[str, float]) -> list[float]:
    """Seconds from each event to its line on the page; events from before the page looked are left out."""
    keys = {f"{event['event']} {event['step']}": event["time"] for event in events}
    opened = min(noted.values())
    return [noted[key] - at for key, at in keys.items() if key in noted and at > opened]


def measure(url: str, data: Path, preset: str, rounds: int) -> None:
    """Measure against a running app and print."""
    client = Client(url, verbose=False, analytics_enabled=False)
    wait(lambda: client.predict(api_name="/status")["state"] == "ready", "loading")
    ask(client)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        presses = []
        for _ in range(rounds):
            page = browser.new_page()
            page.goto(url, wait_until="domcontentloaded")
            page.wait_for_selector("#ll-ask-all")
            page.wait_for_selector(".ll-empty")
            presses.append(page.evaluate(ASK_ALL))
            page.click("#ll-stop")
            wait(lambda: not client.predict(api_name="/status")["answering"], "stopping")
        print(f"Ask all five to text on both sides: {spread(presses, 2)} s", flush=True)
        idle = [ask(client) for _ in range(rounds)]
        run = data / "runs" / client.predict(preset, {}, api_name="/start_training")
        page.get_by_role("tab", name="Train").click()
        page.wait_for_selector(".ll-log [data-kind]", timeout=LIMIT_SECONDS * 1000)
        page.evaluate(NOTE_LINES)
        wait(lambda: any(event["event"] == "step" for event in told(run)), "the first step")
        beside = [ask(client) for _ in range(rounds)]
        wait(lambda: len(told(run)) >= 8, "eight events")
        page.wait_for_timeout(2000)
        shown = latencies(told(run), page.evaluate("window.noted"))
    for name, at in (("first text", 0), ("whole answer", 1)):
        quiet, busy = [each[at] for each in idle], [each[at] for each in beside]
        print(f"/ask, {name}: idle {spread(quiet, 2)} s, beside training {spread(busy, 2)} s, {ratios(busy, quiet)}")
    print(f"event to page: {spread(shown, 2)} s, mean {statistics.mean(shown):.2f} s, {len(shown)} events")
    client.predict(api_name="/stop_training")


def main() -> None:
    """Start the app, measure, and end both the app and the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("options", nargs="*", help="passed on to app.py")
    arguments = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"LORA_LENS_DATA": folder}
        command = [sys.executable, "app.py", "--port", str(port), "--stop-training", *arguments.options]
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}/"
            wait_for_page(url, time.perf_counter())
            measure(url, Path(folder), arguments.preset, arguments.rounds)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


if __name__ == "__main__":
    main()
