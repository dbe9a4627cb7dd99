"""What the page's buttons start where answering meets training, and what it says of the adapter that answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.learning import evidence
from eval_prompts.learning.passing import passing_settings
from eval_prompts.scoring.plans import fingerprints
from eval_prompts.tasks.catalogue import find_task
from eval_prompts.tasks.of_adapter import default_task
from eval_prompts.votes.export import conversation
from eval_prompts.votes.lesson import Lesson, run_settings, write
from eval_prompts.votes.vote_statistics import by_kind
from eval_prompts.votes.words import headline
from tuning.data.cleaning import ID_DIGITS, row_id
from tuning.errors import UserError
from tuning.models.weights import Choices, fingerprint
from tuning.runs import start_adapter
from tuning.runs.record import record_of
from tuning.training import used_rows

HALF = ID_DIGITS // 2
"""Digits of a row's id that its question alone decides."""

if TYPE_CHECKING:
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.scoring.in_app.scorings import Scorings
    from eval_prompts.serving.lens import Lens
    from eval_prompts.showing.shown_pairs import ShownPairs
    from eval_prompts.tasks.choice import TaskChoice
    from eval_prompts.votes.records import VotedPair
    from tuning.data.chat import PromptFormat
    from tuning.runs.run import Run
    from tuning.views.actions import Actions


def train_on_votes(found: Lesson, lens: Lens, training: Actions) -> str:
    """Starts a run that learns from votes, going on from the adapter they are about, and returns its name.

    Raises UserError if that adapter does not answer here now, or only stronger or weaker than it was trained, or if the
    run cannot start.
    """
    status = lens.status()
    card = status.adapter
    if card is None or f"{status.fingerprint}+{card.fingerprint}" != found.fingerprint:
        raise UserError(f"These votes are about {found.adapter}, which does not answer now: compare it again first.")
    refuse_dialled(card, f"These votes are about {found.adapter}", "vote on that")
    settings = run_settings(found, write(found), status.model, card.path) | as_asked(lens)
    return training.start("quick", settings).name


def refuse_dialled(card: AdapterCard, about: str, instead: str) -> None:
    """Raise UserError where an adapter answers stronger or weaker than it was trained, which no run can go on from."""
    if card.strength is not None:
        raise UserError(
            f"{about}, and a run goes on from it as it was trained: put the strength back to 1, and {instead}."
        )


def as_asked(lens: Lens) -> dict[str, Any]:
    """The chat template and the thinking that were chosen for the models that answer, for a run that learns from their
    answers; what the adapter brings of its own, the run finds there."""
    choices = getattr(lens.loader, "choices", None) or Choices()
    found: dict[str, Any] = {}
    if choices.chat_template is not None:
        file = Path(choices.chat_template).expanduser()
        found["chat_template"] = str(file.absolute()) if file.is_file() else choices.chat_template
    if choices.thinking is not None:
        found["thinking"] = "on" if choices.thinking else "off"
    return found


def train_on_passing(scoring: str, lens: Lens, scorings: Scorings, training: Actions) -> str:
    """Starts a run that learns from its own answers that pass the task of a scoring, going on from the adapter that was
    scored, and returns its name. Raises UserError if that does not answer here now as it was trained, or if the run
    cannot start."""
    status = lens.status()
    plan = scorings.board(scoring).plan
    scored, now = plan["fingerprints"], fingerprints(status)
    if scored["adapter"] and any(scored[name] != now[name] for name in ("model", "adapter")):
        raise UserError(
            f"This scoring is of {plan['adapter']['name']}, which does not answer now: compare it again first."
        )
    if status.adapter is not None:
        refuse_dialled(status.adapter, f"This scoring is of {status.adapter.name}", "score that")
    task = find_task(plan["tasks"][0]["source"]["task"])
    settings = passing_settings(task, status.adapter, status.model) | as_asked(lens)
    return training.start("quick", settings).name


def preferred_after(run: Run, pairs: ShownPairs) -> str:
    """In words what people prefer who voted on a run's adapter against the one that it went on from, on questions that
    it did not learn from, whoever answers now; '' where nobody has. Raises UserError if the votes cannot be read."""
    base = record_of(run.adapter).get("base_fingerprint")
    after, before = (f"{base}+{fingerprint(folder)}" for folder in (run.adapter, run.path / start_adapter.FOLDER))
    votes = pairs.votes_on(after, before)
    learned = {id[:HALF] for id in used_rows.before(run.path).get("train", ())}
    fresh = [voted for voted in votes if asked_id(voted) not in learned]
    if not fresh:
        return "People have voted on nothing but questions that it learned from." if votes else ""
    names = {"tuned": run.name, "base": start_adapter.called(run.config().from_adapter or "")}
    left_out = f" Left out: {len(votes) - len(fresh):,} votes on questions that it learned from."
    return headline(by_kind(fresh), names) + (left_out if len(fresh) < len(votes) else "")


def asked_id(voted: VotedPair) -> str:
    """The part of a row's id that stands for what a pair was asked, where it were a row of training data."""
    asked = [str(turn["content"]) for turn in conversation(voted.pair) if turn["role"] == "user"]
    return row_id("\n".join(asked), "")[:HALF]


def evidence_of(lens: Lens, tasks: TaskChoice) -> Callable[[Any], dict[str, Any]]:
    """What the page's script calls, with the task that it asks, for the evidence of the adapter that answers, from its
    own record; there is none of one that is stronger or weaker than it was trained."""

    def evidence_now(sent: Any) -> dict[str, Any]:
        status = lens.status()
        card = status.adapter
        if card is None or card.strength is not None or status.against is not None:
            return {}
        name = str(sent.get("task") or "") if isinstance(sent, dict) else ""
        return evidence.read(card.path, status.fingerprint, status.device, asked_in(tasks, name, card))

    evidence_now.__name__ = "evidence"
    return evidence_now


def asked_in(tasks: TaskChoice, name: str, card: AdapterCard) -> PromptFormat:
    """The prompt that a question is put in where the page asks the task of that name, '' for the one in use."""
    if not name and tasks.chosen is None:
        return default_task(card)[0].format
    try:
        return tasks.named(name, owner=True).format
    except UserError:  # it was removed; the page will choose another
        return tasks.task.format
