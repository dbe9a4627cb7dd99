"""When passes are padded and recorded, and what follows where they cannot be. The recordings themselves need a GPU."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from tests.tuning.rows import make_examples
from tuning.kernels.cuda_graphs import Recorder


@pytest.fixture
def card(monkeypatch):
    """Stands in for CUDA: every recording fails with the error in the list, and the streams put back are noted."""
    errors, streams = [], []

    @contextmanager
    def graph(*_, **__):
        yield
        raise errors[0]

    for name, stand_in in {
        "graph_pool_handle": lambda: 0,
        "CUDAGraph": object,
        "current_stream": lambda: "before",
        "set_stream": streams.append,
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return errors, streams


@pytest.fixture
def recorder(card):
    factor = torch.ones(3, requires_grad=True)
    seen = []

    def compute(packed):
        seen.append(packed)
        weights = 1 if packed.label_weights is None else packed.label_weights
        return (factor.sum() * packed.labels * weights).sum()

    recorder = Recorder(compute, [factor])
    recorder.seen, recorder.factor = seen, factor
    return recorder


def loss_of(recorder, examples):
    return recorder.loss(examples, range(len(examples)), 0, 7).item()


def test_a_small_pass_is_padded_and_a_few_long_rows_are_not(recorder, tiny_tokenizer):
    loss_of(recorder, make_examples(tiny_tokenizer, 3, lengths=[(20, 30)] * 3))
    assert recorder.seen[-1].label_weights is not None
    loss_of(recorder, make_examples(tiny_tokenizer, 1, lengths=[(2000, 3000)]))
    assert recorder.seen[-1].label_weights is None
    loss_of(recorder, make_examples(tiny_tokenizer, 16, lengths=[(400, 500)] * 16))
    assert recorder.seen[-1].label_weights is not None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "there is no memory for it"),
        (RuntimeError("operation not permitted when stream is capturing\nmore"), "stream is capturing"),
    ],
)
def test_a_recording_that_fails_leaves_the_pass_as_it_was(card, recorder, tiny_tokenizer, caplog, error, told):
    errors, streams = card
    errors.append(error)
    examples = make_examples(tiny_tokenizer, 3, lengths=[(20, 30)] * 3)
    expected = loss_of(recorder, examples)
    loss = recorder.loss(examples, range(3), 0, 7)
    loss.backward()
    assert loss.item() == expected
    assert recorder.factor.grad is not None
    assert streams == ["before"]
    (record,) = caplog.records
    assert record.message.startswith("Passes are no longer recorded: ")
    assert told in record.message
    assert "more" not in record.message.split(": ")[1]
    assert not recorder.give_up(), "nothing is left to be given up"
    assert loss_of(recorder, examples) == expected
    assert recorder.seen[-1].label_weights is None


def test_padding_is_given_up_before_anything_is_recorded(recorder, tiny_tokenizer):
    examples = make_examples(tiny_tokenizer, 3, lengths=[(20, 30)] * 3)
    expected = loss_of(recorder, examples)
    assert recorder.give_up()
    assert not recorder.give_up()
    assert not Recorder(lambda packed: packed, [recorder.factor]).give_up(), "it was not used yet"
    assert loss_of(recorder, examples) == expected
    assert recorder.seen[-1].label_weights is None
