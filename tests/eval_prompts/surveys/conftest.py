"""A loaded tiny pair, a task of three questions and the surveys over it."""

import pytest

from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.surveys import kept
from eval_prompts.surveys.surveys import Surveys
from eval_prompts.tasks.catalogue import find_task

TASK = """name: t
score: [ends]
settings: {max_new_tokens: 4}
questions:
  - {id: a, question: Why?, answer: so}
  - {id: b, question: How?, answer: like this}
  - {id: c, question: When?, answer: ''}
"""


@pytest.fixture(scope="package")
def lens(tiny_model_path, tiny_adapter_path):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu")) as lens:
        lens.start()
        lens.wait_ready()
        yield lens


@pytest.fixture
def task(tmp_path):
    file = tmp_path / "task.yaml"
    file.write_text(TASK)
    return find_task(str(file))


@pytest.fixture
def surveys(lens, task, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "data_root", lambda: tmp_path / "data")
    return Surveys(lens, lambda: task)
