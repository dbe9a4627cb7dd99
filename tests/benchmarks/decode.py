"""Answering speed against other ways: ``python -m tests.benchmarks.decode [--rounds N] [--tokens N] [--ways NAME]``.

The ten answers of "Ask all five" (five questions, both models), one pair of answers, and one to sixteen visitors at
once, a fixed number of tokens each: by the app's own engine in fp32 and in int8, by ``generate`` one question after
another and batched per side, by peft's mixed-adapter batch, and by llama.cpp on the embedded GGUF. Each way has a
process of its own, because two users of OpenMP in one process slow each other down; all are loaded first and then
measured in turns, round after round, so that a drift of the machine's speed cancels in the ratios. Shares of the
machine's ceilings count what one step must at least read and multiply (see :func:`floor_seconds`). Peers come from
``tests/benchmarks/requirements.txt``. With ``--device cuda`` the ways that a GPU has, in bf16, without ceilings;
``--model`` and ``--adapter`` take any, also random ones (``tests.benchmarks.random_model``), but for llama.cpp.
``--former FOLDER`` measures the general decoder of an earlier commit beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from eval_prompts.tasks.probes import PROBES
from tests.benchmarks.contenders.decode import CUDA_WAYS, WAYS
from tests.benchmarks.measures.spread import ratios, spread

WARM_UP_TOKENS = 8
VISITORS = (1, 2, 4, 8, 16)
VISITOR_TOKENS = 60
PARAMETERS = 134_515_008
OURS = "ours"
FORMER, BATCHES = "general decoder of before", "general decoder, batches"
BYTES = {"ours, fp32": 4.0, "ours, int8": 0.625}
HEAD = 49_152 * 576


class Contender:
    """A process that answers by one way."""

    def __init__(self, name: str, model: str, adapter: str, former: Path | None = None) -> None:
        """``former`` is the worktree of an earlier commit, whose general decoder then answers."""
        self.name = name
        command = [sys.executable, "-m", "tests.benchmarks.contenders.decode", name, model, adapter]
        environment = None
        if former is not None:
            command = [
                sys.executable,
                "-P",
                str(Path(__file__).with_name("contenders") / "former_decoder.py"),
                model,
                adapter,
            ]
            environment = os.environ | {"PYTHONPATH": str(former)}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=former,
            env=environment,
        )
        self.loaded: dict[str, Any] = {}

    def wait_ready(self) -> Contender:
        """Return once the models are loaded. Raises ChildProcessError if they cannot be."""
        self.loaded = self._read()
        return self

    def run(self, questions: list[str], tokens: int, visitors: int = 1) -> dict[str, Any]:
        """Answer all questions for so many visitors; seconds, first tokens and memory."""
        job = {"questions": questions, "tokens": tokens, "visitors": visitors}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """Let the process end."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self.name} is left out: it ended with status {self._process.wait()}")
        return json.loads(line)


def ceilings() -> tuple[float, float]:
    """Best bytes read per second and fp32 operations per second of this machine, measured in a process of its own."""
    code = "from tests.benchmarks.products import ceilings; print(*ceilings(9))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    read, multiply = map(float, output.split())
    return read, multiply


def floor_seconds(name: str, rows: int, read: float, multiply: float) -> float:
    """Seconds that one step of so many rows takes at least: its weights read once, its products at full rate.

    In int8 the head is held in 8 bits and the rest in 4, with 2 bits of scale and offset to each.
    """
    size = PARAMETERS * BYTES[name] + (HEAD * BYTES[name] if name == "ours, int8" else 0)
    return max(size / read, 2 * rows * PARAMETERS / multiply)


def measure(contenders: list[Contender], title: str, questions: list[str], tokens: int, rounds: int) -> None:
    """Measure all ways in turns and print their table."""
    found: dict[str, list[dict[str, Any]]] = {each.name: [] for each in contenders}
    for each in contenders:
        each.run(questions, WARM_UP_TOKENS)
    for _ in range(rounds):
        for each in contenders:
            found[each.name].append(each.run(questions, tokens))
    seconds = {name: [one["seconds"] for one in results] for name, results in found.items()}
    rows = 2 * len(questions)
    ours = [name for name in seconds if name.startswith(OURS)] or [name for name in seconds if name == BATCHES]
    print(f"\n{title}, {tokens} tokens each, {rounds} rounds")
    print(f"{'':36}{'tokens/s':>20}{'first token, s':>22}" + "".join(f"{f'{name} is faster by':>28}" for name in ours))
    for name, each in seconds.items():
        first = [value for one in found[name] for value in one["first"]]
        told = spread(first, 2) if first else ""
        compared = "".join(f"{ratios(each, seconds[other]) if name != other else '':>28}" for other in ours)
        print(f"{name:36}{spread([rows * tokens / s for s in each], 0):>20}{told:>22}{compared}")
    known = [name for name in ours if name in BYTES]
    if not known:
        return
    read, multiply = ceilings()
    print(f"reads {read / 1e9:.0f} GB/s, multiplies {multiply / 1e9:.0f} GFLOP/s")
    for name in known:
        share = floor_seconds(name, rows, read, multiply) * tokens / statistics.median(seconds[name])
        print(f"{name}: {share:.0%} of the ceiling")


def visitors(contender: Contender, rounds: int) -> None:
    """Print how one question's latency grows with the number of visitors who ask at once."""
    question = [PROBES[1].question]
    print(f"\n{contender.name}: visitors at once, one question each, {VISITOR_TOKENS} tokens")
    for count in VISITORS:
        results = [contender.run(question, VISITOR_TOKENS, count) for _ in range(rounds)]
        first = sorted(value for one in results for value in one["first"])
        p95 = first[min(len(first) - 1, round(0.95 * len(first)))]
        whole = spread([one["seconds"] for one in results], 2)
        rate = 2 * count * VISITOR_TOKENS / statistics.median(one["seconds"] for one in results)
        told = f"first token {statistics.median(first):.2f} s (p95 {p95:.2f})"
        print(f"{count:4} {told}, all done {whole} s, {rate:.0f} tok/s")


def main() -> None:
    """Load all ways, run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--ways", nargs="*", choices=[*WAYS, *CUDA_WAYS], help="default: all of the device")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapter", default="starter")
    parser.add_argument("--former", type=Path, help="a git worktree of d9536c3: its general decoder is measured, too")
    parser.add_argument("--answers", nargs="*", default=["ten", "pair", "visitors"])
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    names = options.ways or (WAYS if options.device == "cpu" else CUDA_WAYS)
    contenders = []
    started = [Contender(name, options.model, options.adapter) for name in names]
    if options.former is not None:
        started.append(Contender(FORMER, options.model, options.adapter, options.former.absolute()))
    for each in started:
        try:
            contenders.append(each.wait_ready())
        except ChildProcessError as error:
            print(error)
    five = [probe.question for probe in PROBES]
    if "ten" in options.answers:
        measure(contenders, "ten answers", five, options.tokens, options.rounds)
    if "pair" in options.answers:
        measure(contenders, "one pair of answers", five[1:2], options.tokens, options.rounds)
    if "visitors" in options.answers:
        for contender in contenders:
            if contender.name.startswith(OURS):
                visitors(contender, options.rounds)
    print("\nmemory, MiB: loaded, of that without a file behind it, at the peak of all")
    for contender in contenders:
        after = contender.run(five[1:2], 1)
        print(
            f"{contender.name:36}{contender.loaded['resident_mb']:>8}{contender.loaded['own_mb']:>8}{after['peak_mb']:>8}"
        )
        contender.close()


if __name__ == "__main__":
    main()
