"""Pairs of answers as the ratings database keeps them."""

from __future__ import annotations

from eval_prompts.ratings import Answered, ShownPair


def answered(label="base", text="An answer.", tokens=5, verdict=None):
    return Answered(text, tokens, 1.0, "ended", label, "f" * 16, verdict)


def shown(ident="p", *, left="base", blind=False, label="mine", created=1.0, probe=None, **sides):
    sides = {"base": answered(), "tuned": answered(label)} | sides
    return ShownPair(ident, created, "asker", "Why?", probe, left=left, blind=blind, settings={"seed": 0}, **sides)
