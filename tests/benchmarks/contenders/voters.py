"""The clients of ``tests.benchmarks.votes``: each votes without pause and writes down what was confirmed.

A line of the book is a confirmed vote: pair, session, choice, when it was confirmed and how long that took (seconds).
It is written at once, so it outlives a voter that is killed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAIRS = 50
CHOICES = ("left", "right", "tie", "both_bad")


@dataclass(frozen=True)
class Confirmed:
    """One vote that the store, or the server, said is kept."""

    pair: str
    session: str
    choice: str
    at: float
    seconds: float


def ballot(voter: str) -> Iterator[tuple[str, str, str]]:
    """Pair, session and choice of a client's votes: one after the other on every pair, then in a new session."""
    number = 0
    while True:
        yield f"p{number % PAIRS}", f"{voter}-{number // PAIRS}", CHOICES[(number + number // PAIRS) % len(CHOICES)]
        number += 1


def write_down(book: Any, vote: tuple[str, str, str], began: float) -> None:
    """Append a confirmed vote to an unbuffered file."""
    now = time.monotonic()
    book.write(f"{' '.join(vote)} {now!r} {now - began!r}\n".encode())


def read_book(path: Path) -> list[Confirmed]:
    """What was confirmed; a line that was cut off by a kill counts as not confirmed."""
    lines = [line.split() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [Confirmed(*words[:3], float(words[3]), float(words[4])) for words in lines]


def vote_in_store(url: str, name: str, threads: int, book_path: Path) -> None:
    """Votes into a store from some threads, from a line on stdin until this process is killed."""
    from eval_prompts.votes.store import Ratings

    ratings = Ratings(url)
    print("ready", flush=True)
    sys.stdin.readline()

    def vote(number: int) -> None:
        with book_path.open("ab", buffering=0) as book:
            for pair, session, choice in ballot(f"{name}.{number}"):
                began = time.monotonic()
                ratings.vote(pair, session, choice)  # type: ignore[arg-type]
                write_down(book, (pair, session, choice), began)

    for number in range(threads):
        threading.Thread(target=vote, args=(number,), daemon=True).start()
    threading.Event().wait()


async def vote_by_http(url: str, name: str, until: float, book_path: Path) -> None:
    """One client's votes through ``/rate`` until a time (monotonic seconds); asks again where the app is down."""
    import httpx

    with book_path.open("ab", buffering=0) as book:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            for pair, session, choice in ballot(name):
                while time.monotonic() < until:
                    began = time.monotonic()
                    sent = {"data": [pair, choice, [], ""], "session_hash": session}
                    try:
                        response = await client.post("/gradio_api/run/rate", json=sent)
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
                        continue
                    if response.status_code != 200:
                        raise RuntimeError(f"/rate answered {response.status_code}: {response.text[:200]}")
                    write_down(book, (pair, session, choice), began)
                    break
                else:
                    return


if __name__ == "__main__":
    vote_in_store(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
