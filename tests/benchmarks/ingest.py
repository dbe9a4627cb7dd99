"""Loading data into DuckDB: ``python -m tests.benchmarks.ingest`` measures rows per second and peak memory.

Random text as Parquet (``instruction``/``input``/``output``, and one message per row) and as JSONL is loaded by
``python -m tuning ingest``'s own code, in turns with plain DuckDB, which copies the same rows into a table as they are:
the ceiling. Each load is a process of its own and goes into an empty file. A tenth of the rows shows whether memory
grows with them: at its peak all that is resident, and what of that no file backs. The converted copy of a JSONL source
is mapped, and its pages are resident for as long as nothing else wants the room.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.measures.memory import memory
from tests.benchmarks.measures.spread import ratios, spread

PROJECT = Path(__file__).parents[2]
CHUNK_ROWS = 20_000
TEXT_LENGTH = 1 << 22
LOOK_SECONDS = 0.05
LAYOUTS = ("alpaca", "messages", "jsonl")
LOADERS = ("this project", "plain DuckDB")


def alpaca_rows(rows: int, seed: int) -> Iterator[dict[str, str]]:
    """Questions with an input in every third, and answers of 100 to 900 characters, about 500 bytes a row."""
    draw = random.Random(seed)
    text = "".join(draw.choices(string.ascii_lowercase + "     ", k=TEXT_LENGTH))

    def piece(shortest: int, longest: int) -> str:
        start = draw.randrange(TEXT_LENGTH - longest)
        return text[start : start + draw.randint(shortest, longest)]

    for number in range(rows):
        given = "" if number % 3 else piece(20, 60)
        yield {"instruction": f"{piece(40, 120)} {number}?", "input": given, "output": piece(100, 900)}


def message_rows(rows: int, seed: int) -> Iterator[dict[str, Any]]:
    """The same as three messages a conversation: ``rows`` messages in all."""
    for number, row in enumerate(alpaca_rows(rows // 3, seed)):
        for kind, text in row.items():
            yield {"message": text, "message_type": kind, "message_id": 0, "conversation_id": number}


def write_source(layout: str, path: Path, rows: int) -> None:
    """A file of random rows, written in pieces."""
    import pyarrow
    from pyarrow import parquet

    source = message_rows(rows, seed=1) if layout == "messages" else alpaca_rows(rows, seed=1)
    if layout == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in source)
        return
    writer = None
    chunk: list[dict[str, Any]] = []
    for row in source:
        chunk.append(row)
        if len(chunk) == CHUNK_ROWS:
            table = pyarrow.Table.from_pylist(chunk)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
            chunk = []
    table = pyarrow.Table.from_pylist(chunk, schema=writer.schema if writer else None)
    writer = writer or parquet.ParquetWriter(path, table.schema)
    writer.write_table(table)
    writer.close()


def load(loader: str, source: Path, target: Path) -> dict[str, float]:
    """Seconds and peak memory of one load, in this process."""
    import duckdb

    from tuning.data.place import FILE, Place
    from tuning.ingest.load import ingest
    from tuning.ingest.warehouse import MEMORY_LIMIT

    began = time.perf_counter()
    with largest_own_memory() as own:
        if loader == LOADERS[0]:
            ingest(str(source), Place(FILE, str(target)))
        else:
            with duckdb.connect(str(target), config={"memory_limit": MEMORY_LIMIT}) as connection:
                connection.execute(f"CREATE TABLE questions AS SELECT * FROM '{source}'")
    return {"seconds": time.perf_counter() - began, "peak_mb": memory()["peak_mb"], "own_mb": max(own)}


@contextmanager
def largest_own_memory() -> Iterator[list[int]]:
    """MiB of this process that no file backs, looked at every 50 ms while the context lasts."""
    seen, over = [memory()["own_mb"]], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            seen.append(memory()["own_mb"])

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def measure(loader: str, source: Path, folder: Path) -> dict[str, float]:
    """The same in a process of its own, with caches of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        own = {"LORA_LENS_DATA": fresh, "HF_DATASETS_CACHE": f"{fresh}/datasets"}
        command = [sys.executable, "-m", "tests.benchmarks.ingest", "--one", loader, str(source), f"{fresh}/t.duckdb"]
        done = subprocess.run(command, cwd=PROJECT, env=os.environ | own, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ingest", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large source; the small one has a tenth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--one", nargs=3, metavar=("LOADER", "SOURCE", "TARGET"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        loader, source, target = options.one
        print(json.dumps(load(loader, Path(source), Path(target))))
        return
    memories = f"{'peak MB':<20}{'of no file':<20}"
    print(f"{'':<10}{'rows':>10}  {'loader':<14}{'rows per second':<28}{memories}share of the ceiling's rate")
    with tempfile.TemporaryDirectory() as folder:
        for layout in options.layouts:
            for rows in (options.rows // 10, options.rows):
                source = Path(folder) / f"source.{'jsonl' if layout == 'jsonl' else 'parquet'}"
                write_source(layout, source, rows)
                compare(layout, source, rows, options.rounds)
                source.unlink()


def compare(layout: str, source: Path, rows: int, rounds: int) -> None:
    """Both loaders in turns on one source, as two lines."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(rounds):
        for loader in LOADERS:
            found[loader].append(measure(loader, source, source.parent))
    rates = {loader: [rows / each["seconds"] for each in each_round] for loader, each_round in found.items()}
    for loader in LOADERS:
        peak, own = (spread([each[kind] for each in found[loader]], 0) for kind in ("peak_mb", "own_mb"))
        share = ratios(rates[loader], rates[LOADERS[1]]) if loader == LOADERS[0] else ""
        print(
            f"{layout:<10}{rows:>10,}  {loader:<14}{spread(rates[loader], 0):<28}{peak:<20}{own:<20}{share}", flush=True
        )


if __name__ == "__main__":
    main()
