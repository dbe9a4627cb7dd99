"""One way to answer, in a process of its own: ``python -m tests.benchmarks.contenders.decode NAME MODEL ADAPTER``.

Reads one job per line from stdin, ``{"questions": [...], "tokens": N, "visitors": N}``, and writes one result per line:
``seconds`` for all answers of both sides, and ``first``, the seconds until each visitor's first token where the way can
tell. At its end it tells its peak memory. :mod:`tests.benchmarks.decode` starts all of them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.measures.memory import memory

Run = Callable[[list[str], int, int], list[float]]


def never_end() -> None:
    """Make answers of this process go on past their end tokens, so that all are equally long."""
    from tuning.data.template import ChatTemplate

    ChatTemplate.end_ids = lambda self, generation_config=None: frozenset()


def ours(precision: str, model: str, adapter: str, device: str = "cpu") -> Run:
    """The app's own engine, as visitors meet it; answers go on past their end tokens."""
    from eval_prompts.answers import Settings
    from eval_prompts.serving.lens import Lens
    from eval_prompts.serving.local import LocalLoader

    lens = Lens(LocalLoader(model, adapter, device=device, precision=precision))
    lens.start()
    lens.wait_ready()
    never_end()

    def run(questions: list[str], tokens: int, visitors: int) -> list[float]:
        streams = [lens.ask(questions, Settings(max_new_tokens=tokens)) for _ in range(visitors)]
        for stream in streams:
            stream.result()
        return [min(row.first_token_seconds for row in stream.rows) for stream in streams]

    return run


def general(batches: bool, model: str, adapter: str) -> Run:
    """The app's decoder for families that it does not know better, in batches or row by row."""
    from eval_prompts.answers import Settings
    from eval_prompts.decoding.engine import Engine
    from eval_prompts.decoding.general_decoder import GeneralDecoder
    from eval_prompts.models.pair import load_pair
    from eval_prompts.stream import Stream
    from tuning.models.device import pick_device
    from tuning.models.weights import resolve

    pair = load_pair(resolve(model), pick_device("cpu"), adapter)
    engine = Engine(GeneralDecoder(pair, batches=batches), pair.tokenizer)
    never_end()

    def run(questions: list[str], tokens: int, visitors: int) -> list[float]:
        settings = Settings(max_new_tokens=tokens)
        streams = [Stream(questions, ("base", "tuned"), settings) for _ in range(visitors)]
        for stream in streams:
            engine.submit(stream)
        for stream in streams:
            stream.result()
        return [min(row.first_token_seconds for row in stream.rows) for stream in streams]

    return run


def generate(way: str, model: str, adapter: str, device: str = "cpu") -> Run:
    """transformers' ``generate`` with both models: question by question as the original did, or batched per side."""
    import torch
    from peft import PeftModel

    from eval_prompts.models.adapters import read_card
    from tuning.models.device import pick_device
    from tuning.models.weights import load_model, load_tokenizer, resolve

    weights, place = resolve(model), pick_device(device)
    tokenizer = load_tokenizer(weights)
    options: dict[str, Any] = {}
    unmerged = PeftModel.from_pretrained(load_model(weights, place), read_card(adapter).path).eval()
    models = [unmerged] if way == "mixed" else [load_model(weights, place), unmerged.merge_and_unload()]

    def answer(model: Any, batch: list[str], tokens: int) -> float:
        """Seconds until the first token."""
        began, first = time.perf_counter(), []

        class Clock:
            def put(self, value: torch.Tensor) -> None:
                first.append(time.perf_counter() - began)

            def end(self) -> None:
                pass

        if len(batch) == 1:
            options["streamer"] = Clock()
        with torch.inference_mode():
            inputs = {name: each.to(device) for name, each in padded(tokenizer, batch).items()}
            model.generate(**inputs, min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False, **options)
        return first[1] if len(first) > 1 else time.perf_counter() - began

    def run(questions: list[str], tokens: int, visitors: int) -> list[float]:
        if way == "mixed":
            options["adapter_names"] = ["__base__"] * len(questions) + ["default"] * len(questions)
            answer(unmerged, questions * 2, tokens)
            return []
        if way == "batched":
            for model in models:
                answer(model, questions, tokens)
            return []
        return [answer(model, [question], tokens) for model in models for question in questions]

    return run


def padded(tokenizer: Any, questions: list[str]) -> dict[str, Any]:
    """Prompts of different lengths as one batch, padded on the left as ``generate`` wants it."""
    import torch

    from tuning.data.chat import encode_prompt

    prompts = [encode_prompt(tokenizer, question) for question in questions]
    longest = max(map(len, prompts))
    ids = [[tokenizer.pad_token_id] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def llama_cpp(slots: int, with_adapter: bool) -> Run:
    """llama.cpp's server on the embedded GGUF.

    Without the adapter all answers are the base's, which is less work than two models. With it, half of the requests
    switch the adapter on; llama.cpp then computes the two kinds in batches of their own.
    """
    import os

    import xllamacpp

    from eval_prompts.models.adapter_source import STARTER
    from tests.benchmarks.contenders.lora_gguf import write_lora_gguf
    from tuning.data.chat import encode_prompt
    from tuning.models import embedded
    from tuning.models.weights import load_tokenizer, resolve

    tokenizer = load_tokenizer(resolve())
    folder = Path(tempfile.mkdtemp())
    gguf = embedded.installed_gguf() or embedded.find_gguf(folder, lambda text, fraction: None)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_parallel = slots
    parameters.n_ctx = 512 * slots
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    parameters.verbosity = -1
    if with_adapter:
        info = xllamacpp.CommonAdapterLoraInfo(str(write_lora_gguf(STARTER, folder / "adapter.gguf")), 1.0)
        parameters.lora_adapters = [info]
    server = xllamacpp.Server(parameters)

    def ask(question: str, tokens: int, scale: float) -> None:
        request = {"prompt": encode_prompt(tokenizer, question), "n_predict": tokens, "temperature": 0}
        request |= {"ignore_eos": True, "cache_prompt": False}
        if with_adapter:
            request["lora"] = [{"id": 0, "scale": scale}]
        server.handle_completions(request)

    def run(questions: list[str], tokens: int, visitors: int) -> list[float]:
        requests = [(question, scale) for scale in (0.0, 1.0) for question in questions * visitors]
        if slots == 1:
            for question, scale in requests:
                ask(question, tokens, scale)
            return []
        threads = [threading.Thread(target=ask, args=(question, tokens, scale)) for question, scale in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return []

    return run


WAYS: dict[str, Callable[[str, str], Run]] = {
    "ours, int8": partial(ours, "int8"),
    "ours, fp32": partial(ours, "fp32"),
    "general decoder, batches": partial(general, True),
    "general decoder, row by row": partial(general, False),
    "generate, one by one": partial(generate, "one by one"),
    "generate, batched per side": partial(generate, "batched"),
    "peft, mixed-adapter batch": partial(generate, "mixed"),
    "llama.cpp, 1 slot, base only": lambda model, adapter: llama_cpp(1, False),
    "llama.cpp, 10 slots, base only": lambda model, adapter: llama_cpp(10, False),
    "llama.cpp, 1 slot, base and LoRA": lambda model, adapter: llama_cpp(1, True),
    "llama.cpp, 10 slots, base and LoRA": lambda model, adapter: llama_cpp(10, True),
}
"""On the CPU. llama.cpp knows the embedded model and the starter adapter alone."""

CUDA_WAYS: dict[str, Callable[[str, str], Run]] = {
    "ours, GPU": partial(ours, "auto", device="cuda"),
    "generate, one by one, GPU": partial(generate, "one by one", device="cuda"),
    "generate, batched per side, GPU": partial(generate, "batched", device="cuda"),
    "peft, mixed-adapter batch, GPU": partial(generate, "mixed", device="cuda"),
}
"""In bf16 on an NVIDIA GPU."""


def main() -> None:
    """Serve jobs until stdin ends."""
    out, sys.stdout = sys.stdout, sys.stderr
    name, model, adapter = sys.argv[1:]
    run = (WAYS | CUDA_WAYS)[name](model, adapter)
    print(json.dumps({"ready": True, **memory()}), file=out, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        began = time.perf_counter()
        first = run(job["questions"], job["tokens"], job["visitors"])
        print(json.dumps({"seconds": time.perf_counter() - began, "first": first, **memory()}), file=out, flush=True)


if __name__ == "__main__":
    main()
