"""DPO against TRL: ``python -m tests.benchmarks.dpo [--rounds N] [--steps N] [--equal]``.

The same pairs, model, adapter, optimizer and 16 pairs a step, each in a process of its own that takes its turn. Before
that, and with ``--equal`` alone, both compute loss and gradient of one batch, and what they differ by is printed; also
those of ORPO, whose likelihood TRL takes over prompt and answer and this loop, as the paper, over the answer alone:
where the prompt is one token, which nothing predicts, both are the same. TRL comes from
``tests/benchmarks/requirements.txt``; ``--peer PYTHON`` names the interpreter that has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measures.spread import ratios, spread


@dataclass
class Contender:
    """A process that trains when told to, and what it has reported."""

    name: str
    process: subprocess.Popen
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    def wait_ready(self) -> None:
        """Return once model and data are loaded."""
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{self.name} could not start: install tests/benchmarks/requirements.txt.")

    def turn(self, steps: int) -> None:
        """Train ``steps`` steps and take in the figures."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        pairs = seconds = 0.0
        for _ in range(steps):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"{self.name} ended early: see its message above.")
            stats = json.loads(line)
            pairs += stats["pairs"]
            seconds += stats["seconds"]
            self.losses.append(stats["loss"])
            self.peak_mb = stats["peak_mb"]
        self.rates.append(pairs / seconds)


def command(python: str, kind: str, steps: int, device: str, model: str) -> list[str]:
    """What starts one contender."""
    return [python, "-m", "tests.benchmarks.contenders.dpo", kind, str(steps), device, model]


def equal(peer: str, device: str, model: str) -> None:
    """Print by how much loss and gradient of one batch differ."""
    import tempfile

    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        for objective in ("dpo", "orpo", "orpo-one-token"):
            found = {}
            for kind, python in (("ours", sys.executable), ("trl", peer), ("trl64", peer)):
                path = Path(folder) / f"{objective}-{kind}.safetensors"
                whole = [*command(python, f"{kind}:{objective}", 1, device, model), str(path)]
                subprocess.run(whole, check=True, stdout=subprocess.DEVNULL)
                found[kind] = load_file(path)
            ours, theirs, exact = (found[kind] for kind in ("ours", "trl", "trl64"))
            losses = ", TRL's ".join(f"{each['loss'].item():.6f}" for each in (ours, theirs))
            print(
                f"{objective}: loss {losses}; gradients are {apart(ours, theirs):.1e} of the norm from each other, and "
                f"from TRL's in float64 {apart(ours, exact):.1e} (ours) and {apart(theirs, exact):.1e} (TRL's)",
                flush=True,
            )


def apart(one: dict, other: dict) -> float:
    """Norm of the difference of two gradients, as a share of the second one's."""
    assert one.keys() == other.keys()
    names = [name for name in one if name != "loss"]
    difference = sum((one[name].double() - other[name].double()).pow(2).sum().item() for name in names)
    return (difference / sum(other[name].double().pow(2).sum().item() for name in names)) ** 0.5


def main() -> None:
    """Compare, run the rounds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1, help="steps per turn")
    parser.add_argument("--equal", action="store_true", help="only whether both compute the same")
    parser.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="the interpreter that has TRL")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", default="smollm2-135m", help="a preset or a folder")
    options = parser.parse_args()
    equal(options.peer, options.device, options.model)
    if options.equal:
        return
    total = options.rounds * options.steps + 1
    contenders = [
        Contender(name, subprocess.Popen(command(python, f"{kind}:dpo", total, options.device, options.model),
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for name, kind, python in (("this loop", "ours", sys.executable), ("TRL DPOTrainer", "trl", options.peer))
    ]  # fmt: skip
    try:
        for contender in contenders:
            contender.wait_ready()
        for contender in contenders:
            contender.turn(1)  # the first step of each warms up and is not counted
            contender.rates.clear()
        for number in range(options.rounds):
            for contender in contenders:
                contender.turn(options.steps)
            print(f"round {number + 1}: " + ", ".join(f"{c.name} {c.rates[-1]:.3f}" for c in contenders), flush=True)
    finally:
        for contender in contenders:
            contender.process.kill()
            contender.process.wait()
    ours, theirs = contenders
    for one in contenders:
        print(f"{one.name:16} {spread(one.rates, 3):>24} pairs/s, peak {one.peak_mb:,.0f} MB")
    print(f"this loop is faster by {ratios(ours.rates, theirs.rates)}; memory {ours.peak_mb / theirs.peak_mb:.2f}x")


if __name__ == "__main__":
    main()
