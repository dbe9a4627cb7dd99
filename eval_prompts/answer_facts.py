"""What is told of one answer: as JSON, and in a line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval_prompts.answers import CONTEXT_FULL, ending_words
from eval_prompts.showing.certainty import recorded
from eval_prompts.tasks.probes import PROBES

if TYPE_CHECKING:
    from eval_prompts.answers import Answer

PROBE_IDS = {probe.question: probe.id for probe in PROBES}


def answer_dict(answer: Answer) -> dict[str, Any]:
    """One answer for JSON. ``probe`` is None for a question that is not one of the five; ``seconds`` in seconds.

    That of a thinking model has ``said`` and ``thinking`` too; its ``text`` is both. Where it was asked for there is
    ``confidence``: each token with how likely the model found it.
    """
    told: dict[str, Any] = {
        "probe": PROBE_IDS.get(answer.question),
        "question": answer.question,
        "side": answer.side,
        "text": answer.text,
        "tokens": answer.tokens,
        "seconds": round(answer.seconds, 3),
        "stopped": answer.stopped,
    }
    if answer.said != answer.text:
        told |= {"said": answer.said, "thinking": answer.thought.thinking}
    return told | {"confidence": recorded(answer)} if answer.confidence else told


def ending(answer: Answer) -> str:
    """How an answer ended, in words."""
    still = " while still thinking" if answer.done and answer.thinks_still else ""
    if answer.problem:
        return f"{answer.state}: {answer.problem}"
    return ending_words(answer.state, *([CONTEXT_FULL] if answer.full else [])) + still


def facts(answer: Answer) -> str:
    """Length, time, speed and ending of an answer in one line."""
    return (
        f"{answer.tokens} tokens · {answer.seconds:.1f} s · {answer.tokens_per_second:.0f} tokens/s · {ending(answer)}"
    )
