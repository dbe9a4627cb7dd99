"""How sure a model was of each token of its answer, as the page, the endpoints and the records have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.rows import Sure
    from eval_prompts.showing.views import ConfidenceView

DIGITS = 3
NOT_TOLD = "Who answered told no probabilities, so how sure this side was is not known."
PARTLY = "{missing:,} of {tokens:,} tokens came without a probability."


def confidence_view(answer: Answer) -> ConfidenceView:
    """The tokens of what was said, a thinking model's draft left out, with their probabilities rounded."""
    sure = said_part(answer)
    missing = sum(odds is None for _, odds in sure)
    words = NOT_TOLD if missing == len(sure) else PARTLY.format(missing=missing, tokens=len(sure))
    return {"tokens": rounded(sure), "note": words if missing else ""}


def said_part(answer: Answer) -> list[Sure]:
    """The tokens behind a draft; one that lies across its end is cut to what is said."""
    left = len(answer.said)
    kept: list[Sure] = []
    for piece, odds in reversed(answer.confidence):
        if left <= 0:
            break
        kept.append((piece[-left:], odds))
        left -= len(piece)
    return kept[::-1]


def rounded(sure: list[Sure]) -> list[Sure]:
    """Probabilities with as many digits as are ever shown."""
    return [(piece, odds if odds is None else round(odds, DIGITS)) for piece, odds in sure]


def recorded(answer: Answer) -> list[list[Any]]:
    """For records and exports: all tokens of an answer, each as a list of its characters and its probability."""
    return [list(entry) for entry in rounded(list(answer.confidence))]


def least_sure(answer: Answer, count: int = 5) -> str:
    """The tokens that the model was least sure of, in words; '' where nothing is known."""
    known = [(odds, piece) for piece, odds in answer.confidence if odds is not None and piece.strip()]
    return ", ".join(f"{piece.strip()!r} {odds:.0%}" for odds, piece in sorted(known)[:count])
