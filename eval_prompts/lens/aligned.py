"""One text as two tokenizers cut it: stretches that begin and end at the same characters on both sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eval_prompts.lens.token_scores import SideScore, TokenScore
from tuning.errors import UserError

Stretch = tuple[slice, slice]
"""The base side's tokens and the tuned side's that make the same characters."""


def stretches(base: Sequence[str], tuned: Sequence[str]) -> list[Stretch]:
    """The shortest stretches of tokens, given by their characters, that both sides cut alike.

    White space does not count, since some tokenizers add or drop it. What is left over at the end belongs to the last
    stretch. Raises UserError if the characters differ.
    """
    ours, theirs = ["".join(piece.split()) for piece in base], ["".join(piece.split()) for piece in tuned]
    if "".join(ours) != "".join(theirs):
        raise UserError("The two sides' tokenizers write this text differently: it cannot be compared word by word.")
    found: list[Stretch] = []
    begin, ends, lengths = (0, 0), [0, 0], [0, 0]
    while ends[0] < len(ours) and ends[1] < len(theirs):
        # Both take a token first; then the side that lies behind takes the next.
        behind = 0 if ends[0] == begin[0] else 1 if ends[1] == begin[1] else int(lengths[1] < lengths[0])
        lengths[behind] += len((ours, theirs)[behind][ends[behind]])
        ends[behind] += 1
        if lengths[0] == lengths[1] and ends[0] > begin[0] and ends[1] > begin[1]:
            found.append((slice(begin[0], ends[0]), slice(begin[1], ends[1])))
            begin = (ends[0], ends[1])
    rest = slice(begin[0], len(ours)), slice(begin[1], len(theirs))
    if rest[0].start == rest[0].stop and rest[1].start == rest[1].stop:
        return found
    if rest[0].start < rest[0].stop and rest[1].start < rest[1].stop:
        return [*found, rest]
    if not found:
        raise UserError("The two sides' tokenizers write this text differently: it cannot be compared word by word.")
    last = found.pop()
    return [*found, (slice(last[0].start, len(ours)), slice(last[1].start, len(theirs)))]


def aligned_scores(
    pairs: Sequence[Stretch],
    base: Sequence[SideScore],
    tuned: Sequence[SideScore],
    ids: Sequence[int],
    words: tuple[Mapping[int, str], Mapping[int, str]],
) -> list[TokenScore]:
    """What both models thought of each stretch: the log-probability of all its tokens, and rank, entropy and first
    choices at its beginning. ``ids`` are the base side's tokens, ``words`` what tokens are on each side."""
    found = []
    for ours, theirs in pairs:
        left, right = whole(base[ours]), whole(tuned[theirs])
        agree = words[0][left.top[0][0]] == words[1][right.top[0][0]]
        found.append(TokenScore(ids[ours.start], left, right, None, None, agree))
    return found


def whole(scores: Sequence[SideScore]) -> SideScore:
    """Some tokens in a row as one."""
    first = scores[0]
    logprob = math.fsum(score.logprob for score in scores)
    return SideScore(logprob, first.rank, first.entropy, first.top, first.end)
