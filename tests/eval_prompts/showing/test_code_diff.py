"""The side-by-side diff loses no line, invents none, and keeps both sides at the same height."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.showing.code_diff import MAX_LINES, diff_lines

CODE = st.lists(st.sampled_from(["a = 1", "b = 2", "", "    return a", "print(a)", "print(b)"]), max_size=8).map(
    "\n".join
)


def side(pairs, name):
    lines = [getattr(pair, name) for pair in pairs if getattr(pair, name)]
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    return ["".join(text for text, _ in line.pieces) for line in lines]


@given(CODE, CODE)
def test_both_codes_can_be_read_back(left, right):
    pairs = diff_lines(left, right)
    assert side(pairs, "left") == [line.rstrip() for line in left.splitlines()]
    assert side(pairs, "right") == [line.rstrip() for line in right.splitlines()]
    for pair in pairs:
        present = {"same": (True, True), "changed": (True, True), "left": (True, False), "right": (False, True)}
        assert (pair.left is not None, pair.right is not None) == present[pair.kind]


@given(CODE)
def test_equal_codes_have_no_differences(code):
    assert {pair.kind for pair in diff_lines(code, code)} <= {"same"}


@given(CODE, CODE)
def test_marked_pieces_are_what_differs(left, right):
    for pair in diff_lines(left, right):
        if pair.kind != "changed":
            continue
        plain = ["".join(text for text, changed in line.pieces if not changed) for line in (pair.left, pair.right)]
        alike = any(changed for line in (pair.left, pair.right) for _, changed in line.pieces)
        assert not alike or plain[0] == plain[1]


def test_a_changed_word_is_marked_alone():
    (pair,) = diff_lines("for x in range(n):", "for x in range(10):")
    assert [text for text, changed in pair.left.pieces if changed] == ["n"]
    assert [text for text, changed in pair.right.pieces if changed] == ["10"]


def test_unlike_lines_stand_next_to_each_other_unmarked():
    (pair,) = diff_lines("import numpy", "x = [1, 2, 3, 4]")
    assert pair.kind == "changed"
    assert not any(changed for line in (pair.left, pair.right) for _, changed in line.pieces)


@pytest.mark.parametrize(("left", "right", "kind"), [("a = 1", "", "left"), ("", "a = 1", "right")])
def test_a_side_without_code_leaves_its_place_empty(left, right, kind):
    assert [pair.kind for pair in diff_lines(left, right)] == [kind]


def test_trailing_white_space_is_no_difference():
    assert [pair.kind for pair in diff_lines("a = 1  ", "a = 1")] == ["same"]


def test_endless_code_is_cut():
    assert len(diff_lines("x\n" * (MAX_LINES + 5), "")) == MAX_LINES
