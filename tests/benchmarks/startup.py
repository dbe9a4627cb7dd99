"""Start-up of the app from a warm cache: ``python -m tests.benchmarks.startup [--rounds N] [-- OPTIONS OF app.py]``.

Each round starts ``python app.py`` anew, asks for the page until it comes, and asks a question at once, while the
models are still loading. Told from the start of the process: the page's HTTP 200, the first token of an answer, and
the app's memory then.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.benchmarks.measures.spread import spread

PROJECT = Path(__file__).parents[2]
LIMIT_SECONDS = 120
TRY_EVERY = 0.02
QUESTION = "Write a function in Python to print the Fibonacci series."


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_for_page(url: str, began: float) -> float:
    """Seconds until the page's HTTP 200."""
    while time.perf_counter() - began < LIMIT_SECONDS:
        try:
            with urllib.request.urlopen(url, timeout=LIMIT_SECONDS) as page:
                page.read()
                return time.perf_counter() - began
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError):
            time.sleep(TRY_EVERY)
    raise SystemExit("the page did not come")


def wait_for_token(url: str, began: float) -> float:
    """Seconds until the first text of an answer to a question asked now."""
    body = json.dumps({"data": [QUESTION, 8, 0.0, 1.0, 0]}).encode()
    request = urllib.request.Request(f"{url}gradio_api/call/ask", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        event = json.load(response)["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call/ask/{event}", timeout=LIMIT_SECONDS) as lines:
        for line in lines:
            name, _, value = line.decode().partition(": ")
            if name == "data" and any(json.loads(value) or []):
                return time.perf_counter() - began
    raise SystemExit("no answer came")


def start_once(options: list[str]) -> tuple[float, float, int]:
    """Seconds to the page and to the first token, and MiB of the process then."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {"LORA_LENS_DATA": data}
        began = time.perf_counter()
        command = [sys.executable, "app.py", "--port", str(port), *options]
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}/"
            page = wait_for_page(url, began)
            token = wait_for_token(url, began)
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return page, token, int(resident.split()[1]) // 1024


def main() -> None:
    """Start the app round after round and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("options", nargs="*", help="passed on to app.py")
    arguments = parser.parse_args()
    start_once(arguments.options)
    pages, tokens, memory = zip(*(start_once(arguments.options) for _ in range(arguments.rounds)), strict=True)
    print(f"HTTP 200 after {spread(pages, 2)} s, first token after {spread(tokens, 2)} s, {spread(memory, 0)} MiB then")


if __name__ == "__main__":
    main()
