"""The Results tab: what people and the machine found, and the votes to take away."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.showing.shown_pairs import anonymous
from eval_prompts.votes.export import export, left_out
from eval_prompts.votes.formats import TYPES
from eval_prompts.votes.lesson import Lesson, lesson
from eval_prompts.votes.results import results_view
from eval_prompts.votes.whole import export_whole
from tuning.errors import UserError
from tuning.shared_tab import Answer, IsOwner, answered, mount, text

if TYPE_CHECKING:
    from eval_prompts.showing.shown_pairs import ShownPairs

VOTING_IS_OPEN = "Results are shown once voting is over: they are the owner's until then."


def build(
    pairs: ShownPairs,
    is_owner: IsOwner,
    for_all: bool = True,
    train: Callable[[Lesson], str] | None = None,
    card: Callable[[str, str], dict[str, Any] | None] = lambda tuned, base: None,
) -> None:
    """The Results tab inside the current layout; ``is_owner`` tells of a request whether it is the owner's, who alone
    sees what others asked and said, and, unless it is ``for_all``, anything at all. ``train`` starts a run that learns
    from votes and returns its name; ``card`` is what scorings of two sides came to, by their fingerprints, or of those
    that are loaded."""

    def results(sent: Answer, request: gr.Request) -> Answer:
        owner = is_owner(request)
        if not (for_all or owner):
            return {"problem": VOTING_IS_OPEN, "waits": True}
        own = None if owner else anonymous(text(sent, "visitor") or "nobody")
        view = results_view(pairs.ratings, text(sent, "adapter") or None, own)
        sides = view["contest"] or ["", ""]
        return view | {"exportable": view["exportable"] and owner, "card": card(*sides)}

    def export_votes(sent: Answer) -> Answer:
        form, as_pairs = text(sent, "format"), text(sent, "what") == "pairs"
        votes = pairs.ratings.votes(whole=None)
        content, rows = (export if as_pairs else export_whole)(votes, form)
        return {
            "name": f"lora-lens-{'preferences' if as_pairs else 'votes'}.{form}",
            "type": TYPES[form],
            "rows": rows,
            "left_out": left_out(votes) if as_pairs else "",
            "content": base64.b64encode(content).decode("ascii"),
        }

    def found(sent: Answer) -> Lesson:
        return lesson(pairs.ratings, text(sent, "adapter") or None, text(sent, "votes") != "all")

    def votes_lesson(sent: Answer) -> Answer:
        return found(sent).to_dict()

    def train_on_votes(sent: Answer) -> Answer:
        if train is None:
            raise UserError("Nothing can be trained here.")
        return {"run": train(found(sent))}

    functions = [answered(results, "problem"), *map(answered, (export_votes, votes_lesson, train_on_votes))]
    mount("LoraLens.mountResults(element, server)", "ll-results", functions)
