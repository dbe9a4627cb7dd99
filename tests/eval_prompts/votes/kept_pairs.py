"""Pairs of answers as the ratings database keeps them."""

from __future__ import annotations

from eval_prompts.votes.records import Answered, ShownPair, Vote, VotedPair

BASE = "f" * 16


def fingerprint_of(label):
    """What tells a side's weights from all others: the base model's, or those of the adapter of that name on it."""
    return BASE if label == "base" else f"{BASE}+{ascii(label)[1:-1]}"


def answered(label="base", text="An answer.", tokens=5, verdict=None, fingerprint=None):
    return Answered(text, tokens, 1.0, "ended", label, fingerprint or fingerprint_of(label), verdict)


def shown(ident="p", *, left="base", blind=False, label="mine", created=1.0, probe=None, question="Why?", **sides):
    sides = {"base": answered(), "tuned": answered(label)} | sides
    return ShownPair(ident, created, "asker", question, probe, left=left, blind=blind, settings={"seed": 0}, **sides)


def voted(choice="left", *, comment="", blind=False, session="me", **pair):
    about = shown(**pair)
    vote = Vote(about.id, session, choice, about.outcome(choice), False, blind, (), comment, 1.0, 1.0)
    return VotedPair(about, vote)
