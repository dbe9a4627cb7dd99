"""Pairs, engines and adapters for the tests of asking."""

from __future__ import annotations

import pytest

from tuning.models.device import pick_device
from tuning.models.weights import resolve


@pytest.fixture(scope="session")
def tiny_weights(tiny_model_path):
    return resolve(str(tiny_model_path))


@pytest.fixture(scope="session")
def cpu():
    return pick_device("cpu")


@pytest.fixture(scope="session")
def tiny_pair(tiny_weights, tiny_adapter_path, cpu):
    """Read only."""
    from eval_prompts.models.pair import load_pair

    return load_pair(tiny_weights, cpu, str(tiny_adapter_path))


@pytest.fixture
def engine_for():
    """Make engines over a pair's fast or plain decoder; they are closed after the test."""
    from eval_prompts.decoding.choice import make_backend
    from eval_prompts.decoding.engine import Engine

    engines = []

    def make(pair, backend=None, **options):
        engines.append(Engine(backend or make_backend(pair, "fp32"), pair.tokenizers, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def lens(tiny_model_path, tiny_adapter_path):
    """Both sides of the tiny pair, loaded in fp32."""
    from eval_prompts.serving.lens import Lens
    from eval_prompts.serving.local import LocalLoader

    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), precision="fp32", device="cpu")) as loaded:
        loaded.start()
        loaded.wait_ready()
        yield loaded
