"""Answering speed against other ways to do it: ``python -m tests.benchmarks.decode [--rounds N] [--tokens N]``.

The ten answers of "Ask all five" (and one pair of answers), a fixed number of tokens each, by this decoder, by
``generate`` one question after another, by ``generate`` batched per side, by peft's mixed-adapter batch, and by
llama.cpp on the embedded GGUF (base only: ten rows of one model, which is less work than two models). All in one
process, in turns, round after round. Peers come from ``tests/benchmarks/requirements.txt``.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from eval_prompts.adapters import STARTER
from eval_prompts.decode import Settings, Stream
from eval_prompts.llama_pair import LlamaPair
from eval_prompts.pair import SIDES, Pair, load_pair
from eval_prompts.probes import PROBES
from tests.benchmarks.spread import ratios, spread
from tuning import wheel
from tuning.chat import encode_prompt
from tuning.device import pick_device
from tuning.quiet import quiet
from tuning.weights import load_model, resolve

OURS = "this decoder, fp32"


class Ours:
    """Rows through the pair decoder, past their end tokens."""

    def __init__(self, pair: Pair) -> None:
        self.backend = LlamaPair(pair)
        self.tokenizer = pair.tokenizer
        self.first_token: list[float] = []

    def __call__(self, questions: list[str], tokens: int) -> None:
        began = time.perf_counter()
        stream = Stream(questions, SIDES, Settings(max_new_tokens=tokens))
        for row in stream.rows:
            row.ids = encode_prompt(self.tokenizer, questions[row.index])
            row.prompt_length, row.limit = len(row.ids), len(row.ids) + tokens
            self.backend.enter(row)
        with torch.inference_mode():
            for step in range(tokens):
                rows, logits = self.backend.advance(stream.rows, 10_000)
                for row, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
                    row.ids.append(token)
                if step == 0:
                    self.first_token.append(time.perf_counter() - began)
        for row in stream.rows:
            self.backend.leave(row)


def padded(tokenizer: Any, questions: list[str]) -> dict[str, torch.Tensor]:
    """Prompts of different lengths as one batch, padded on the left as ``generate`` wants it."""
    prompts = [encode_prompt(tokenizer, question) for question in questions]
    longest = max(map(len, prompts))
    ids = [[tokenizer.pad_token_id] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def generate(model: Any, batch: dict[str, torch.Tensor], tokens: int, **options: Any) -> None:
    with quiet():
        model.generate(**batch, min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False, **options)


def one_by_one(pair: Pair) -> Callable[[list[str], int], None]:
    """As the original experiment did."""

    def run(questions: list[str], tokens: int) -> None:
        for side in SIDES:
            for question in questions:
                generate(pair.model(side), padded(pair.tokenizer, [question]), tokens)

    return run


def batched(pair: Pair) -> Callable[[list[str], int], None]:
    """One batch per side."""

    def run(questions: list[str], tokens: int) -> None:
        for side in SIDES:
            generate(pair.model(side), padded(pair.tokenizer, questions), tokens)

    return run


def mixed(pair: Pair, model: Any) -> Callable[[list[str], int], None]:
    """Both sides in one batch of peft's unmerged model."""

    def run(questions: list[str], tokens: int) -> None:
        names = ["__base__"] * len(questions) + ["default"] * len(questions)
        generate(model, padded(pair.tokenizer, questions * 2), tokens, adapter_names=names)

    return run


def llama_cpp(pair: Pair, slots: int) -> Callable[[list[str], int], None]:
    """llama.cpp's server on the GGUF, with so many parallel slots."""
    import xllamacpp

    gguf = wheel.installed_gguf() or wheel.find_gguf(wheel.cache_folder(), lambda text, fraction: None)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_parallel = slots
    parameters.n_ctx = 512 * slots
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = torch.get_num_threads()
    parameters.verbosity = -1
    server = xllamacpp.Server(parameters)

    def ask(question: str, tokens: int) -> None:
        request = {"prompt": encode_prompt(pair.tokenizer, question), "n_predict": tokens, "temperature": 0}
        server.handle_completions(request | {"ignore_eos": True, "cache_prompt": False})

    def run(questions: list[str], tokens: int) -> None:
        every = questions * 2
        if slots == 1:
            for question in every:
                ask(question, tokens)
            return
        threads = [threading.Thread(target=ask, args=(question, tokens)) for question in every]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def contenders(pair: Pair, peers: list[str]) -> dict[str, Callable[[list[str], int], None]]:
    """All ways to answer, by name; a peer that is not installed is said and left out."""
    from peft import PeftModel

    ways: dict[str, Callable[[list[str], int], None]] = {OURS: Ours(pair)}
    if "generate" in peers:
        ways["generate, one by one"] = one_by_one(pair)
        ways["generate, batched per side"] = batched(pair)
    if "peft" in peers:
        unmerged = PeftModel.from_pretrained(load_model(resolve(), pair.device), STARTER).eval()
        ways["peft, mixed-adapter batch"] = mixed(pair, unmerged)
    if "llama.cpp" in peers:
        try:
            for slots in (1, 10):
                ways[f"llama.cpp, Q4_1, {slots} slots, base only"] = llama_cpp(pair, slots)
        except ImportError:
            print("llama.cpp is left out: install tests/benchmarks/requirements.txt")
    return ways


def main() -> None:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--peers", nargs="*", default=["generate", "peft", "llama.cpp"])
    options = parser.parse_args()
    pair = load_pair(resolve(), pick_device("cpu"), "starter")
    ways = contenders(pair, options.peers)
    five = [probe.question for probe in PROBES]
    for title, questions in (("ten answers", five), ("one pair of answers", five[1:2])):
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for run in ways.values():
            run(questions, 8)
        ways[OURS].first_token.clear()
        for _ in range(options.rounds):
            for name, run in ways.items():
                began = time.perf_counter()
                run(questions, options.tokens)
                seconds[name].append(time.perf_counter() - began)
        print(f"\n{title}, {options.tokens} tokens each{'':14}{'tokens/s':>22}{'ours is faster by':>26}")
        total = 2 * len(questions) * options.tokens
        for name, each in seconds.items():
            faster = "" if name == OURS else ratios(each, seconds[OURS])
            print(f"{name:44}{spread([total / s for s in each], 0):>22}{faster:>26}")
        print(f"first tokens after {statistics.median(ways[OURS].first_token):.2f} s")


if __name__ == "__main__":
    main()
