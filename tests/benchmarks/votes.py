"""Twenty clients vote without pause: ``python -m tests.benchmarks.votes`` measures votes per second and worst waits.

Into SQLite and, where it is installed, PostgreSQL: from twenty threads of one process, from twenty processes, and over
HTTP through the running app. In the middle of each, what writes is killed (SIGKILL) and started again. At the end every
confirmed vote has to be in the database, as it was confirmed, and there once. Exit code 1 if a vote is lost or double,
or a rate is below the target.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from eval_prompts.showing.shown_pairs import anonymous
from eval_prompts.votes.records import Answered, ShownPair
from eval_prompts.votes.store import Ratings
from tests.benchmarks.contenders.voters import PAIRS, Confirmed, read_book, vote_by_http
from tests.eval_prompts.votes.postgresql import Unavailable, server

PROJECT = Path(__file__).parents[2]
CLIENTS = 20
VOTES_PER_SECOND = 200.0
TEXT = "An answer of some length. " * 25


@dataclass(frozen=True)
class Outcome:
    """One way's figures: confirmed votes, votes per second, waits in seconds, votes lost, votes there twice."""

    way: str
    confirmed: int
    rate: float
    median: float
    worst: float
    after_kill: float
    lost: int
    double: int

    @property
    def well(self) -> bool:
        """Whether nothing is lost or double and the target is reached."""
        return not self.lost and not self.double and self.rate >= VOTES_PER_SECOND

    def __str__(self) -> str:
        return (
            f"{self.way:<28}{self.confirmed:>9,}{self.rate:>9.0f}{1000 * self.median:>9.1f}{1000 * self.worst:>9.0f}"
            f"{self.after_kill:>13.1f}{self.lost:>6}{self.double:>8}"
        )


HEAD = f"{'':<28}{'votes':>9}{'per s':>9}{'ms, p50':>9}{'worst':>9}{'s to revive':>13}{'lost':>6}{'double':>8}"


def fill(url: str) -> None:
    """Pairs to vote on."""
    ratings = Ratings(url)
    base = Answered(TEXT, 150, 1.0, "ended", "base", "f" * 16)
    tuned = Answered(TEXT, 150, 1.0, "ended", "mine", "f" * 16 + "+" + "a" * 16)
    for number in range(PAIRS):
        ratings.add_pair(ShownPair(f"p{number}", 1.0, "x", "Why?", None, base, tuned, "base", False, {}))
    ratings.close()


def from_store(url: str, folder: Path, processes: int, seconds: float) -> tuple[list[Path], list[float]]:
    """Votes from threads or processes, killed in the middle; the books, and the times between which was voted."""
    books, edges = [], []
    for half in ("a", "b"):
        voters = []
        for number in range(processes):
            books.append(folder / f"{half}{number}")
            command = [
                sys.executable,
                "-m",
                "tests.benchmarks.contenders.voters",
                url,
                books[-1].name,
                str(CLIENTS // processes),
            ]
            command.append(str(books[-1]))
            voters.append(
                subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        for voter in voters:
            if voter.stdout.readline() != "ready\n":
                raise SystemExit("A voter ended before it began.")
        edges.append(time.monotonic())
        for voter in voters:
            voter.stdin.write("go\n")
            voter.stdin.flush()
        time.sleep(seconds / 2)
        ended = [voter.poll() for voter in voters if voter.poll() is not None]
        edges.append(time.monotonic())
        for voter in voters:
            voter.kill()
        for voter in voters:
            voter.wait()
        if ended:
            raise SystemExit(f"{len(ended)} voters gave up: see above.")
    return books, edges


def by_http(url: str, folder: Path, seconds: float) -> tuple[list[Path], list[float]]:
    """Votes through the app, which is killed in the middle; the books, and the times between which was voted."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--model", "none-is-needed", "--device", "cpu", "--port", str(port)]
    options += ["--writes-per-minute", "0", "--requests-per-minute", "0"]
    environment = os.environ | {"DATABASE_URL": url, "LORA_LENS_DATA": str(folder)}
    address, books = f"http://127.0.0.1:{port}", [folder / str(number) for number in range(CLIENTS)]
    log = (folder / "app.log").open("ab")

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "app.py", *options], cwd=PROJECT, env=environment, stdout=log, stderr=log
        )

    async def run() -> list[float]:
        app = start()
        await up(address)
        edges = [time.monotonic()]
        until = edges[0] + seconds
        voting = [
            asyncio.create_task(vote_by_http(address, f"c{number}", until, book)) for number, book in enumerate(books)
        ]
        await asyncio.sleep(seconds / 2)
        app.kill()
        app.wait()
        edges.append(time.monotonic())
        app = start()
        await up(address)
        edges.append(time.monotonic())
        await asyncio.gather(*voting)
        edges.append(time.monotonic())
        app.send_signal(signal.SIGTERM)
        app.wait(timeout=60)
        return edges

    edges = asyncio.run(run())
    log.close()
    return books, edges


async def up(address: str) -> None:
    """Waits until the app answers."""
    async with httpx.AsyncClient(base_url=address) as client:
        while True:
            try:
                await client.get("/status")
                return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


Voting = Callable[[str, Path, float], tuple[list[Path], list[float]]]
WAYS: dict[str, tuple[Voting, Callable[[str], str]]] = {
    "20 threads": (lambda url, folder, seconds: from_store(url, folder, 1, seconds), str),
    "20 processes": (lambda url, folder, seconds: from_store(url, folder, CLIENTS, seconds), str),
    "20 clients over HTTP": (by_http, anonymous),
}
"""How is voted, and what a client's session is called in the database."""


def measure(way: str, kind: str, url: str, seconds: float) -> Outcome:
    """One way of voting into an empty database."""
    vote, kept_as = WAYS[way]
    fill(url)
    with tempfile.TemporaryDirectory() as folder:
        books, edges = vote(url, Path(folder), seconds)
        confirmed = [each for book in books for each in read_book(book)]
    ratings = Ratings(url)
    kept = [(voted.pair.id, voted.vote.session, voted.vote.choice) for voted in ratings.votes()]
    ratings.close()
    told = {(each.pair, kept_as(each.session), each.choice) for each in confirmed}
    waits = sorted(each.seconds for each in confirmed if not _across(each, edges))
    return Outcome(
        way=f"{kind}, {way}",
        confirmed=len(confirmed),
        rate=len(confirmed) / (edges[1] - edges[0] + edges[3] - edges[2]),
        median=waits[len(waits) // 2],
        worst=waits[-1],
        after_kill=edges[2] - edges[1],
        lost=len(told - set(kept)),
        double=len(kept) - len({vote[:2] for vote in kept}),
    )


def _across(vote: Confirmed, edges: list[float]) -> bool:
    """Whether a vote waited while nothing ran to take it."""
    return vote.at - vote.seconds < edges[2] and vote.at > edges[1]


@contextmanager
def sqlite() -> Iterator[str]:
    """The URL of a database in a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/ratings.sqlite"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.votes", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of voting, for each way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    outcomes = []
    print(HEAD)
    for kind, database in {"SQLite": sqlite, "PostgreSQL": server}.items():
        for way in options.ways:
            try:
                with database() as url:
                    outcomes.append(measure(way, kind, url, options.seconds))
            except Unavailable as reason:
                print(f"{kind}: left out, since {reason}")
                break
            print(outcomes[-1], flush=True)
    well = all(outcome.well for outcome in outcomes)
    print("all well" if well else "NOT well: lost, double, or slower than 200 votes per second")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
