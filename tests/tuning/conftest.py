"""Settings of small runs, and a whole one."""

from __future__ import annotations

import json
import random

import pytest


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """Sixty small questions."""
    path = tmp_path_factory.mktemp("data") / "questions.jsonl"
    source = random.Random(4)
    verbs = ["reverse", "sort", "count", "join", "split", "merge", "rotate", "filter", "group", "sum"]
    rows = [
        {
            "instruction": f"{verb} the {source.choice('abcdefgh')}-list number {index}",
            "input": "",
            "output": f"```python\n{verb}({index})\n```" + "!" * source.randint(0, 9),
        }
        for index in range(6)
        for verb in verbs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def settings(tiny_model_path, data_file, tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    return {
        "model": str(tiny_model_path),
        "data": str(data_file),
        "max_steps": 9,
        "batch_size": 4,
        "save_every": 2,
        "validate_every": 3,
        "sample_every": 0,
        "threads": 1,
        "rank": 4,
    }


@pytest.fixture
def whole(settings):
    """An uninterrupted run. The pipeline's tests, in an environment without torch, get by without these imports."""
    from tests.tuning.tiny_runs import new_run
    from tuning.training import worker
    from tuning.training.parallel import Ranks

    finished = new_run(settings)
    assert worker.work(finished, Ranks(), quiet=True) == "finished"
    return finished
