"""What tests of scorings share: a data folder of their own, two small tasks, and a tiny pair that is loaded."""

from __future__ import annotations

import pytest

from eval_prompts.models.lora_linear import AdaptedLinear
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from tests.eval_prompts.scoring import runs


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def task_file(home):
    path = home / "letters.yaml"
    path.write_text(runs.TASK)
    return path


@pytest.fixture
def facts(home):
    path = home / "facts.yaml"
    path.write_text(runs.CHOICES)
    return path


@pytest.fixture
def damaged(tiny_model_path, tiny_adapter_path):
    """A pair whose adapter gives no numbers; loading it would have found that."""
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), precision="fp32", device="cpu")) as loaded:
        loaded.start()
        loaded.wait_ready()
        for module in loaded.pair.tuned.modules():
            if isinstance(module, AdaptedLinear):
                module.up.fill_(float("nan"))
        yield loaded
