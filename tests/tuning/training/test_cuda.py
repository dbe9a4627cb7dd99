"""What only a GPU shows: bf16 against the CPU's numbers, memory that really runs out, a base in 4 bits, answers."""

from __future__ import annotations

import pytest
import torch

from tests.tiny_llama import save_llama
from tests.tuning.rows import make_examples
from tuning.kernels.memory import release
from tuning.models.device import Device, pick_device
from tuning.models.weights import load_model
from tuning.presets import Config
from tuning.training.adapter.lora import trainable
from tuning.training.step import accumulate, measured, open_session, run_steps, train_step, try_longest

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture(scope="module")
def wide_model_path(tmp_path_factory, tiny_tokenizer):
    """A random Llama large enough that activations outweigh the allocator's rounding."""
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 8}
    sizes |= {"num_key_value_heads": 4, "max_position_embeddings": 2048, "initializer_range": 0.02}
    return save_llama(tmp_path_factory.mktemp("wide-llama"), tiny_tokenizer, 5, **sizes)


def session_for(path, tokenizer, device, said=None, *, quantize=None, lengths=None, **settings):
    """A session with adapters whose B is not zero, on sixteen or more examples."""
    config = Config(**{"rank": 8, "batch_size": 16, "warmup_steps": 0, "dropout": 0.1, **settings})
    examples = make_examples(tokenizer, 16, seed=8, lengths=lengths)
    base = load_model(path, device, quantize)
    session = open_session(base, config, examples, say=([] if said is None else said).append)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, factor in trainable(session.model).items():
            if "lora_B" in name:
                factor.copy_(torch.randn(factor.shape, generator=generator) * 0.05)
    return session


def summed(session):
    """Loss and gradient of one step over all rows."""
    session.model.train()
    (loss,), _ = accumulate(session, session.examples, range(len(session.examples)), key=77)
    return loss, torch.cat([factor.grad.flatten().cpu() for factor in trainable(session.model).values()])


def distance(found, expected):
    """How far two gradients are apart, relative to the second."""
    return ((found - expected).norm() / expected.norm()).item()


def test_the_best_device_is_the_gpu_in_half_precision():
    device = pick_device()
    assert device.name == "cuda"
    assert device.dtype in (torch.bfloat16, torch.float16)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-3), (torch.bfloat16, 5e-2)])
def test_the_packed_pass_gives_the_cpus_gradient(wide_model_path, tiny_tokenizer, dtype, tolerance):
    expected = summed(session_for(wide_model_path, tiny_tokenizer, Device("cpu", torch.float32)))
    session = session_for(wide_model_path, tiny_tokenizer, Device("cuda", dtype))
    assert session.forward.name == "packed"
    loss, found = summed(session)
    assert loss == pytest.approx(expected[0], rel=1e-2)
    assert distance(found, expected[1]) < tolerance


def test_recomputation_saves_memory_and_gives_the_same_gradient(wide_model_path, tiny_tokenizer):
    found = []
    for recomputes in (False, True):
        session = session_for(
            wide_model_path,
            tiny_tokenizer,
            Device("cuda", torch.float32),
            gradient_checkpointing=recomputes,
            lengths=[(100, 100)] * 16,
        )
        torch.cuda.reset_peak_memory_stats()
        _, vector = summed(session)
        found.append((vector, torch.cuda.max_memory_allocated()))
        del session
    assert distance(found[1][0], found[0][0]) < 1e-3
    assert found[1][1] < 0.7 * found[0][1]


def test_recorded_passes_train_as_launched_ones_do(wide_model_path, tiny_tokenizer):
    device = Device("cuda", torch.float32)
    settings = {"micro_batch_rows": 7, "learning_rate": 1e-3}
    plain, recorded = (session_for(wide_model_path, tiny_tokenizer, device, **settings) for _ in range(2))
    plain.forward.give_up()
    for step in range(6):
        expected, found = train_step(plain, step), train_step(recorded, step)
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)
        assert found.grad_norm == pytest.approx(expected.grad_norm, rel=1e-2)
    assert recorded.forward.recorder.recordings > 0
    assert plain.forward.recorder.recordings == 0
    moved = [
        torch.cat([factor.detach().flatten() for factor in trainable(session.model).values()])
        for session in (plain, recorded)
    ]
    assert distance(moved[1], moved[0]) < 1e-3


def test_memory_of_recordings_is_given_back_before_passes_shrink(wide_model_path, tiny_tokenizer):
    said = []
    session = session_for(wide_model_path, tiny_tokenizer, Device("cuda", torch.float32), said)
    for step in range(4):
        train_step(session, step)
    assert session.forward.recorder.recordings > 0
    plain, refused = session.forward.loss, []

    def short_once(*arguments):
        if not refused:
            refused.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(*arguments)

    session.forward.loss = short_once
    before = session.budget.to_dict()
    train_step(session, 4)
    assert ["without recorded passes" in line for line in said] == [True]
    assert session.budget.to_dict() == before
    assert session.forward.recorder.recordings == 0


@pytest.fixture
def short_memory():
    """A function that leaves the process so much of the card's memory; the whole card again afterwards."""
    total = torch.cuda.get_device_properties(0).total_memory

    def leave(room):
        release()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room) / total)

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize(("share", "says"), [(0.6, "examples"), (0.04, "gradient checkpointing")])
def test_a_card_that_runs_out_of_memory_gets_the_same_gradient_in_smaller_passes(
    wide_model_path, tiny_tokenizer, short_memory, share, says
):
    lengths = [(100, 800)] * 16
    device = Device("cuda", torch.float32)
    settings = {"max_tokens": 1024, "micro_batch_tokens": 100_000, "lengths": lengths}
    session = session_for(wide_model_path, tiny_tokenizer, device, **settings)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    expected = summed(session)
    needed = torch.cuda.max_memory_allocated() - before
    session.model.zero_grad(set_to_none=True)

    said = []
    session = session_for(wide_model_path, tiny_tokenizer, device, said, **settings)
    summed(session)
    assert not said
    session.model.zero_grad(set_to_none=True)
    short_memory(int(needed * share))
    try_longest(session)
    loss, found = summed(session)
    smaller = [line for line in said if "without recorded passes" not in line]
    assert len(said) - len(smaller) <= 1
    assert "Out of memory with 16 examples" in smaller[0]
    assert any(says in line for line in said)
    assert loss == pytest.approx(expected[0], rel=1e-4)
    assert distance(found, expected[1]) < 1e-3
    told = len(said)
    train_step(session, 0)
    assert len(said) == told, "the budget that worked is remembered"


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_a_base_in_fewer_bits_learns(wide_model_path, tiny_tokenizer, quantize):
    session = session_for(
        wide_model_path,
        tiny_tokenizer,
        Device("cuda", torch.bfloat16),
        quantize=quantize,
        optimizer="adamw8bit",
        learning_rate=1e-2,
        schedule="constant",
    )
    before = measured(session, session.examples)["loss"]
    for stats in run_steps(session, 12):
        assert stats.grad_norm > 0
    assert measured(session, session.examples)["loss"] < before - 0.05
