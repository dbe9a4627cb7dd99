"""Speed of matrix products with few rows: ``python -m tests.benchmarks.products [--rows 1 2 5 10 16] [--rounds N]``.

Every weight of the embedded model is multiplied once per round, so that none is still in the processor's cache: by
``F.linear``; by oneDNN in fp32 from its own layout (``OneDnnWeight`` of ``decoding/layers/matmul.py``); from 4 or 8
bits in groups (``GroupedWeight`` of ``decoding/layers/quantized_linear.py``); and by PyTorch's weight-only int8 product
(one scale per output), which is fast for bf16 inputs alone. Milliseconds for the whole model, ways taken in turns,
beside the two ceilings measured on the same machine: reading the fp32 weights once, and the multiplications at the
rate of large square products.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from eval_prompts.decoding.layers.matmul import OneDnnWeight, stacked
from eval_prompts.decoding.layers.quantized_linear import GroupedWeight
from eval_prompts.models.pair import fuse_projections
from tests.benchmarks.measures.spread import ratios, spread
from tuning.models.device import pick_device
from tuning.models.weights import load_model, resolve

SQUARE = 2048
READ_VALUES = 2**26


def seconds_of(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def ceilings(rounds: int) -> tuple[float, float]:
    """Best bytes read per second, and best fp32 operations per second, of this machine."""
    values, square = torch.ones(READ_VALUES), torch.randn(SQUARE, SQUARE)
    read = min(seconds_of(values.sum) for _ in range(rounds))
    product = min(seconds_of(lambda: square @ square) for _ in range(rounds))
    return values.nbytes / read, 2 * SQUARE**3 / product


def model_weights() -> list[torch.Tensor]:
    """Every matrix that one decoding step multiplies, each [out, in], in the decoder's layout."""
    model = load_model(resolve(), pick_device("cpu"))
    fuse_projections(model)
    weights = [model.lm_head.weight.detach()]
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        weights += stacked([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        weights += [attention.o_proj.weight, *stacked([mlp.gate_proj.weight, mlp.up_proj.weight]), mlp.down_proj.weight]
    return weights


def int8_rows(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight rounded to int8 with one symmetric scale per output: [out, in] and [out]."""
    scales = weight.abs().amax(dim=1) / 127
    return (weight / scales[:, None]).round().to(torch.int8), scales.bfloat16()


def main() -> None:
    """Time the ways in turns and print a table per number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 5, 10, 16])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    bandwidth, rate = ceilings(options.rounds)
    policy = os.environ.get("OMP_WAIT_POLICY", "unset")
    print(f"{torch.get_num_threads()} threads, OMP_WAIT_POLICY {policy}: ", end="")
    print(f"reads {bandwidth / 1e9:.0f} GB/s, multiplies at {rate / 1e9:.0f} GFLOP/s")
    weights = model_weights()
    coded = [int8_rows(weight) for weight in weights]
    total = sum(weight.numel() for weight in weights)
    in_layout = [OneDnnWeight(weight) for weight in weights]
    grouped = [GroupedWeight(weight) for weight in weights]
    for rows in options.rows:
        inputs = {width: torch.randn(rows, width) for width in {weight.shape[1] for weight in weights}}
        halves = {width: x.bfloat16() for width, x in inputs.items()}
        ways: dict[str, Callable[[], object]] = {
            "F.linear": lambda x=inputs: [F.linear(x[weight.shape[1]], weight) for weight in weights],
            "oneDNN layout, fp32": lambda x=inputs: [
                product(x[weight.shape[1]]) for product, weight in zip(in_layout, weights, strict=True)
            ],
            "4 and 8 bits, bf16 in": lambda x=inputs: [
                product(x[weight.shape[1]]) for product, weight in zip(grouped, weights, strict=True)
            ],
            "int8 per output, bf16 in": lambda x=halves: [
                torch._weight_int8pack_mm(x[q.shape[1]], q, s) for q, s in coded
            ],
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        with torch.inference_mode():
            for _ in range(options.rounds):
                for name, run in ways.items():
                    seconds[name].append(seconds_of(run))
        floor = max(4 * total / bandwidth, 2 * rows * total / rate)
        print(
            f"\n{rows} rows{'':18}{'ms, whole model':>24}{'share of fp32 ceiling':>24}{'faster than F.linear by':>28}"
        )
        for name, each in seconds.items():
            share = f"{floor / statistics.median(each):.0%}"
            milliseconds = spread([1000 * second for second in each])
            print(f"{name:24}{milliseconds:>24}{share:>24}{ratios(seconds['F.linear'], each):>28}")


if __name__ == "__main__":
    main()
