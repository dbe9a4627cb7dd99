"""Fifty visitors at once: ``python -m tests.benchmarks.load`` starts the app, and asks, votes and reloads for minutes.

A training run goes on meanwhile. In the middle the app is killed (SIGKILL) and started again on the same port. At the
end every vote that was confirmed has to be in the database. Everything stays on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from eval_prompts.showing.shown_pairs import anonymous
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.models import tiny

PROJECT = Path(__file__).parents[2]
API = "/gradio_api"
SETTLE_SECONDS = 20.0
CHOICES = ("left", "right", "tie", "both_bad")


@dataclass
class Book:
    """What happened: seconds by kind of request, refusals, errors, and the votes that were confirmed."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    down: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    errors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    votes: dict[tuple[str, str], str] = field(default_factory=dict)

    def table(self) -> str:
        """The report: one line for each kind of request; latencies in milliseconds."""
        names = ("served", "refused", "app down", "errors")
        head = "".join(f"{name:>10}" for name in names) + "".join(f"{name:>8}" for name in ("p50", "p95", "p99"))
        lines = [f"{'request':<8}{head}"]
        for kind in ("page", "config", "join", "ask", "vote", "status"):
            times = [1000 * second for second in self.seconds[kind]] or [0.0]
            cuts = statistics.quantiles(times, n=100) if len(times) > 1 else times * 99
            counts = (len(self.seconds[kind]), self.refused[kind], self.down[kind], len(self.errors[kind]))
            told = "".join(f"{count:>10}" for count in counts) + "".join(f"{cuts[at]:>8.0f}" for at in (49, 94, 98))
            lines.append(f"{kind:<8}{told}")
        return "\n".join(lines)


class Server:
    """The app in a process of its own, on a port that it keeps over restarts."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = folder / "data"
        os.environ["LORA_LENS_DATA"] = str(self.data)
        model = tiny.build()
        self._adapter = random_adapter(model, folder / "adapter", ["q_proj", "v_proj"])
        self._model, self._log = model, (folder / "app.log").open("ab")
        self.up = False

    def start(self) -> None:
        """Starts the app; it is up when :meth:`ready` returns."""
        options = ["--model", str(self._model), "--adapter", str(self._adapter), "--device", "cpu"]
        options += ["--port", str(self.port), "--trust-proxy", "--auth", "only for this benchmark"]
        self._process = subprocess.Popen(
            [sys.executable, "app.py", *options], cwd=PROJECT, stdout=self._log, stderr=self._log
        )

    async def ready(self) -> None:
        """Waits until the app can answer."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            while True:
                try:
                    if (await client.get("/status")).json()["ready"]:
                        self.up = True
                        return
                except (httpx.TransportError, ValueError):
                    await asyncio.sleep(0.2)
                await asyncio.sleep(0.2)

    def kill(self) -> None:
        """As a power cut would."""
        self.up = False
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    @property
    def megabytes(self) -> float:
        """Resident memory of the app."""
        return psutil.Process(self._process.pid).memory_info().rss / 2**20


class Visitor:
    """Someone who reloads the page, asks, votes, is slow, and sometimes leaves in the middle."""

    def __init__(self, number: int, server: Server, book: Book) -> None:
        self.server, self.book, self.chance = server, book, random.Random(number)
        self.address = f"198.51.{number // 250}.{number % 250 + 1}"
        self.functions: dict[str, int] = {}

    async def stay(self, until: float) -> None:
        """Comes and goes until a time (monotonic seconds)."""
        await asyncio.sleep(self.chance.random() * 5)
        while time.monotonic() < until:
            headers = {"x-forwarded-for": self.address, "x-forwarded-proto": "http"}
            async with httpx.AsyncClient(base_url=self.server.url, headers=headers, timeout=60) as client:
                session = f"{self.address}-{self.chance.getrandbits(60):x}"
                if await self._call(client, "page", "GET", "/") is None:
                    await asyncio.sleep(1)
                    continue
                config = await self._call(client, "config", "GET", "/config")
                if config is not None:
                    self.functions = {each["api_name"]: each["id"] for each in config.json()["dependencies"]}
                    for _ in range(self.chance.randint(1, 3)):
                        await self._ask_and_vote(client, session)
                        await asyncio.sleep(self.chance.random() * 2)
                        await self._call(client, "status", "GET", "/status")

    async def _call(self, client: httpx.AsyncClient, kind: str, method: str, path: str, **sent: Any) -> Any:
        """One request's response; None if it was refused, failed, or the app was down. All are noted."""
        was_up, began = self.server.up, time.monotonic()
        try:
            response = await client.request(method, path, **sent)
        except httpx.TransportError as error:
            self._lost(kind, was_up, error)
            return None
        if response.status_code in (429, 503):
            self.book.refused[kind] += 1
            return None
        if response.status_code != 200:
            self.book.errors[kind].append(f"{response.status_code} {response.text[:120]}")
            return None
        self.book.seconds[kind].append(time.monotonic() - began)
        return response

    def _lost(self, kind: str, was_up: bool, error: Exception) -> None:
        if was_up and self.server.up:
            self.book.errors[kind].append(repr(error))
        else:
            self.book.down[kind] += 1

    async def _ask_and_vote(self, client: httpx.AsyncClient, session: str) -> None:
        was_up, began = self.server.up, time.monotonic()
        cap = self.chance.choice((8, 16, 32))
        data = [f"Question {self.chance.randint(1, 999)}?", self.chance.random() < 0.5, cap, 0, 1, 0]
        sent = {"fn_index": self.functions["ask_pairs"], "data": data, "session_hash": session}
        joined = await self._call(client, "join", "POST", f"{API}/queue/join", json=sent)
        if joined is None:
            return
        try:
            ended = await self._follow(client, session)
        except httpx.TransportError as error:
            self._lost("ask", was_up, error)
            return
        if ended is None:
            return
        if not ended["success"]:
            self._told_no(str(ended["output"].get("error")))
            return
        self.book.seconds["ask"].append(time.monotonic() - began)
        pair, choice = ended["output"]["data"][0][0]["pair"], self.chance.choice(CHOICES)
        vote = {"data": [pair, choice, [], "a comment"], "session_hash": session}
        if await self._call(client, "vote", "POST", f"{API}/run/rate", json=vote) is not None:
            self.book.votes[pair, anonymous(session)] = choice

    def _told_no(self, reason: str) -> None:
        if "ahead of you" in reason or "shutting down" in reason:
            self.book.refused["ask"] += 1
        else:
            self.book.errors["ask"].append(reason[:120])

    async def _follow(self, client: httpx.AsyncClient, session: str) -> dict[str, Any] | None:
        """The last message of the answers' stream; None if this visitor leaves before."""
        leaves, slow = self.chance.random() < 0.1, self.chance.random() < 0.1
        async with client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as response:
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                message = orjson.loads(line[5:])
                if message["msg"] == "process_completed":
                    return message
                if message["msg"] == "process_generating" and leaves:
                    return None
                if slow:
                    await asyncio.sleep(0.3)
        return None


async def run(visitors: int, seconds: float, folder: Path) -> bool:
    """The whole exercise; prints the report and returns whether all went well."""
    book, server = Book(), Server(folder)
    server.start()
    await server.ready()
    training = subprocess.Popen(
        [sys.executable, "-m", "tuning", "train", "--preset", "smoke", "--max-steps", "100000", "--quiet"],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
    )
    began = time.monotonic()
    until = began + seconds
    staying = [asyncio.create_task(Visitor(number, server, book).stay(until)) for number in range(visitors)]
    memory = [await _memory_over(server, began + seconds / 2 - 1)]
    server.kill()
    server.start()
    await server.ready()
    memory.append(await _memory_over(server, until))
    await asyncio.gather(*staying)
    lost = missing(server.data, book)
    still_training = training.poll() is None
    training.send_signal(signal.SIGINT)
    training.wait(timeout=60)
    exit_code = server.stop()
    print(book.table())
    for name, (first, last) in zip(("before the kill", "after it"), memory, strict=True):
        print(f"memory {name}: {first:.0f} MB once settled, {last:.0f} MB at the end ({last / first - 1:+.1%})")
    print(f"votes confirmed: {len(book.votes)}, lost: {lost}")
    print(f"training went on: {still_training}; exit code {exit_code}")
    for kind in filter(book.errors.get, list(book.errors)):
        print(f"{kind} errors: {sorted(set(book.errors[kind]))[:5]}")
    steady = all(last <= 1.05 * first for first, last in memory)
    return not any(book.errors.values()) and not lost and steady and still_training and exit_code == 0


async def _memory_over(server: Server, until: float) -> tuple[float, float]:
    """Resident memory once the app has settled, and at a time (monotonic seconds); medians over two seconds, in MB."""

    async def level() -> float:
        levels = []
        for _ in range(10):
            levels.append(server.megabytes)
            await asyncio.sleep(0.2)
        return statistics.median(levels)

    await asyncio.sleep(max(0.0, min(SETTLE_SECONDS, until - time.monotonic() - 5)))
    first = await level()
    await asyncio.sleep(max(0.0, until - time.monotonic() - 3))
    return first, await level()


def missing(data: Path, book: Book) -> int:
    """How many confirmed votes the database does not hold as they were confirmed."""
    with sqlite3.connect(data / "ratings.sqlite") as database:
        kept = {(pair, session): choice for pair, session, choice in database.execute(
            "select pair_id, session, choice from votes")}  # fmt: skip
    return sum(kept.get(vote) != choice for vote, choice in book.votes.items())


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=180.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        well = asyncio.run(run(options.visitors, options.seconds, Path(folder)))
        log = (Path(folder) / "app.log").read_text(errors="replace")
    print(log[-2000:] if not well else "", end="")
    print("all well" if well else "NOT well")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
