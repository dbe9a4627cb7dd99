"""The general decoder of an earlier commit, row by row, as a way to answer for :mod:`tests.benchmarks.decode`.

This file alone is of now: it runs in a git worktree of that commit (by its path, with that folder on PYTHONPATH), takes
jobs and gives results as :mod:`tests.benchmarks.contenders.decode` does. Known to fit d9536c3.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Serve jobs until stdin ends."""
    out, sys.stdout = sys.stdout, sys.stderr
    from eval_prompts.answers import Settings
    from eval_prompts.decoding.engine import Engine
    from eval_prompts.decoding.hf_decoder import PlainPair  # type: ignore[import-not-found]  # of that commit
    from eval_prompts.models.pair import load_pair
    from eval_prompts.stream import Stream
    from tests.benchmarks.measures.memory import memory
    from tuning.models.device import pick_device
    from tuning.models.weights import resolve

    model, adapter = sys.argv[1:]
    pair = load_pair(resolve(model), pick_device("cpu"), adapter)
    engine = Engine(PlainPair(pair), pair.tokenizer)
    engine._end = -1  # type: ignore[attr-defined]  # of that commit: answers go on past their end token
    print(json.dumps({"ready": True, **memory()}), file=out, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        began = time.perf_counter()
        settings = Settings(max_new_tokens=job["tokens"])
        streams = [Stream(job["questions"], ("base", "tuned"), settings) for _ in range(job["visitors"])]
        for stream in streams:
            engine.submit(stream)
        for stream in streams:
            stream.result()
        first = [min(row.first_token_seconds or 0.0 for row in stream.rows) for stream in streams]
        print(json.dumps({"seconds": time.perf_counter() - began, "first": first, **memory()}), file=out, flush=True)


if __name__ == "__main__":
    main()
