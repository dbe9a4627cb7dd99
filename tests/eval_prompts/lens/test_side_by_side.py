"""Two iterators taken at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from eval_prompts.lens.side_by_side import side_by_side
from eval_prompts.lens.token_scores import can_read_at_once


@pytest.fixture
def threads() -> Iterator[int]:
    """Four threads for products, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield 4
    torch.set_num_threads(before)


def counted(limit: int, seen: set[tuple[int, int]]) -> Iterator[torch.Tensor]:
    for number in range(limit):
        seen.add((threading.get_ident(), torch.get_num_threads()))
        yield torch.full((2,), float(number))


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_items_come_as_zip_gives_them_each_side_by_half_of_the_threads(threads: int, limit: int) -> None:
    seen: tuple[set[tuple[int, int]], set[tuple[int, int]]] = (set(), set())
    pairs = list(side_by_side(counted(limit, seen[0]), counted(limit, seen[1])))
    assert [(float(ours[0]), float(theirs[1])) for ours, theirs in pairs] == [(at, at) for at in range(limit)]
    if limit:
        (ours,), (theirs,) = seen
        assert ours[0] != theirs[0]
        assert ours[1] == theirs[1] == threads // 2
    assert torch.get_num_threads() == threads
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [threads]


def test_with_one_thread_both_are_taken_here() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seen: set[tuple[int, int]] = set()
        assert len(list(side_by_side(counted(3, seen), counted(3, seen)))) == 3
        assert seen == {(threading.get_ident(), 1)}
    finally:
        torch.set_num_threads(before)


def test_what_a_side_raises_is_raised(threads: int) -> None:
    def broken() -> Iterator[torch.Tensor]:
        yield torch.ones(2)
        raise MemoryError("no room")

    taken = side_by_side(broken(), counted(3, set()))
    next(taken)
    with pytest.raises(MemoryError):
        next(taken)
    with pytest.raises(ValueError, match="ends before"):
        list(side_by_side(counted(2, set()), counted(3, set())))
    assert torch.get_num_threads() == threads


def test_one_may_stop_early(threads: int) -> None:
    before = threading.active_count()
    taken = side_by_side(counted(9, set()), counted(9, set()))
    next(taken)
    taken.close()
    assert threading.active_count() == before


def test_models_that_share_a_state_are_read_in_turns(tiny_pair, monkeypatch) -> None:
    base, tuned = tiny_pair.base, tiny_pair.tuned
    assert can_read_at_once(base, tuned)
    assert not can_read_at_once(base, base)
    monkeypatch.setattr(tuned, "is_quantized", True, raising=False)
    assert not can_read_at_once(base, tuned)
