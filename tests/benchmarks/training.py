"""Training speed against what people use: ``python -m tests.benchmarks.training [--rounds N] [--steps N] [--out DIR]``.

On the CPU in fp32, or with ``--device cuda`` in bf16; ``--model`` takes any model, also one with random weights
(``tests.benchmarks.random_model``).

Every contender trains the same model, adapter, rows, optimizer and 16 examples per step in a process of its own. The
processes take turns, a few steps each, round after round, so that all see the same machine. Peers come from
``tests/benchmarks/requirements.txt``. Prints real (not padding) tokens per second as ratios with spread, peak memory,
and the share of the machine's matrix-multiply ceiling; writes the loss curves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measures.spread import ratios, spread

OURS = "this loop"
CONTENDERS = {
    OURS: "ours",
    "TRL, padded": "trl-padded",
    "TRL, length-grouped": "trl-grouped",
    "TRL, packed to 1,024": "trl-packed",
    "Trainer, dynamic padding": "trainer-dynamic",
    "Trainer, padded to 2,048 (original)": "trainer-original",
}


@dataclass
class Contender:
    """A process that trains when told to, and what it has reported."""

    name: str
    process: subprocess.Popen
    rates: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    trained_share: float = 0.0
    computed_rates: list[float] = field(default_factory=list)

    def wait_ready(self) -> None:
        """Return once model and data are loaded."""
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{self.name} could not start: install tests/benchmarks/requirements.txt.")

    def turn(self, steps: int) -> None:
        """Train ``steps`` steps and take in the figures."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        tokens = computed = trained = seconds = 0.0
        for _ in range(steps):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"{self.name} ended early: see its message above.")
            stats = json.loads(line)
            tokens += stats["tokens"]
            computed += stats.get("computed_tokens", 0)
            trained += stats.get("trained_tokens", 0)
            seconds += stats["seconds"]
            self.losses.append(stats["loss"])
            self.peak_mb = stats["peak_mb"]
        self.rates.append(tokens / seconds)
        self.step_seconds.append(seconds / steps)
        self.computed_rates.append(computed / seconds)
        self.trained_share = trained / tokens


def start(name: str, kind: str, steps: int, device: str, model: str) -> Contender:
    """Start one contender, which loads while others do."""
    command = [sys.executable, "-m", "tests.benchmarks.contenders.training", kind, str(steps), device, model]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return Contender(name, process)


def matmul_ceiling(device: str = "cpu") -> float:
    """The best matrix-multiply rate of a device in FLOP/s, over square products: fp32 on the CPU, bf16 elsewhere."""
    import time

    import torch

    on_cpu = device == "cpu"
    dtype, wait = (torch.float32, lambda: None) if on_cpu else (torch.bfloat16, torch.cuda.synchronize)
    best = 0.0
    for size in (1024, 1536, 2048) if on_cpu else (4096, 8192):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        for _ in range(6):
            wait()
            began = time.perf_counter()
            a @ b
            wait()
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def parameters(model: str) -> tuple[int, int]:
    """Parameters of the layers, and of the vocabulary head."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tuning.models.weights import resolve

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(resolve(model).path))
    head = empty.get_output_embeddings().weight.numel()
    embeddings = empty.get_input_embeddings().weight.numel()
    tied = empty.get_output_embeddings().weight is empty.get_input_embeddings().weight
    return sum(part.numel() for part in empty.parameters()) - embeddings - (0 if tied else head), head


def share_of_ceiling(rate: float, trained_share: float, ceiling: float, body: int, head: int) -> float:
    """Forward and backward through frozen matrices cost 4 FLOPs per parameter and token; the head only at labels."""
    return rate * 4 * (body + head * trained_share) / ceiling


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2, help="steps per turn")
    parser.add_argument("--out", type=Path, help="folder for figures.json and losses.png")
    parser.add_argument("--only", nargs="*", choices=list(CONTENDERS.values()), help="these peers alone")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", default="smollm2-135m", help="a preset or a folder")
    options = parser.parse_args()
    chosen = {n: k for n, k in CONTENDERS.items() if options.only is None or k == "ours" or k in options.only}
    total = options.rounds * options.steps + 1
    contenders = [start(name, kind, total, options.device, options.model) for name, kind in chosen.items()]
    ceilings = []
    try:
        for contender in contenders:
            contender.wait_ready()
        for contender in contenders:
            contender.turn(1)  # the first step of each warms up and is not counted
            contender.rates.clear()
            contender.step_seconds.clear()
            contender.computed_rates.clear()
        for number in range(options.rounds):
            ceilings.append(matmul_ceiling(options.device))
            for contender in contenders:
                contender.turn(options.steps)
            print(f"round {number + 1}: " + ", ".join(f"{c.name} {c.rates[-1]:.0f}" for c in contenders), flush=True)
    finally:
        for contender in contenders:
            contender.process.kill()
            contender.process.wait()
    report(contenders, statistics.median(ceilings), *parameters(options.model))
    if options.out:
        save(contenders, options.out)


def report(contenders: list[Contender], ceiling: float, body: int, head: int) -> None:
    """Print one line per contender."""
    ours = contenders[0]
    print(f"\nmatrix-multiply ceiling {ceiling / 1e9:.0f} GFLOP/s; tokens per second are real tokens, padding excluded")
    print(f"{'':38}{'tokens/s':>22}{'ours is faster by':>26}{'s per step':>12}{'peak MB':>10}")
    for contender in contenders:
        faster = "" if contender is ours else ratios(ours.rates, contender.rates)
        seconds = statistics.median(contender.step_seconds)
        print(
            f"{contender.name:38}{spread(contender.rates, 0):>22}{faster:>26}"
            f"{seconds:>12.2f}{contender.peak_mb:>10,.0f}"
        )
    real = share_of_ceiling(statistics.median(ours.rates), ours.trained_share, ceiling, body, head)
    computed = share_of_ceiling(statistics.median(ours.computed_rates), ours.trained_share, ceiling, body, head)
    print(f"share of the ceiling: {real:.0%} counting every row's tokens, {computed:.0%} counting a shared prefix once")


def save(contenders: list[Contender], folder: Path) -> None:
    """Write all figures, and the loss curves as a picture."""
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    figures = {c.name: {"tokens_per_second": c.rates, "peak_mb": c.peak_mb, "losses": c.losses} for c in contenders}
    (folder / "figures.json").write_text(json.dumps(figures, indent=2))
    for contender in contenders:
        pyplot.plot(range(1, len(contender.losses) + 1), contender.losses, label=contender.name)
    pyplot.xlabel("step")
    pyplot.ylabel("training loss")
    pyplot.legend()
    pyplot.savefig(folder / "losses.png", dpi=120)


if __name__ == "__main__":
    main()
