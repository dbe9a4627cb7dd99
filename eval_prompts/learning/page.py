"""What the page's buttons start where answering meets training, and what it says of the adapter that answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eval_prompts.learning import evidence
from eval_prompts.learning.passing import passing_settings
from eval_prompts.tasks.catalogue import find_task
from eval_prompts.votes.lesson import Lesson, run_settings, write
from tuning.errors import UserError
from tuning.runs import start_adapter

if TYPE_CHECKING:
    from eval_prompts.scoring.in_app.scorings import Scorings
    from eval_prompts.serving.lens import Lens
    from eval_prompts.showing.shown_pairs import ShownPairs
    from tuning.runs.run import Run
    from tuning.views.actions import Actions


def train_on_votes(found: Lesson, lens: Lens, training: Actions) -> str:
    """Starts a run that learns from votes, going on from the adapter they are about, and returns its name.

    Raises UserError if that adapter does not answer here now, or if the run cannot start.
    """
    status = lens.status()
    card = status.adapter
    if card is None or f"{status.fingerprint}+{card.fingerprint}" != found.fingerprint:
        raise UserError(f"These votes are about {found.adapter}, which does not answer now: compare it again first.")
    return training.start("quick", run_settings(found, write(found), status.model, card.path)).name


def train_on_passing(scoring: str, lens: Lens, scorings: Scorings, training: Actions) -> str:
    """Starts a run that learns from its own answers that pass the task of a scoring, going on from the adapter that
    answers now, and returns its name. Raises UserError if it cannot start."""
    status = lens.status()
    plan = scorings.board(scoring).plan
    settings = passing_settings(find_task(plan["tasks"][0]["source"]["task"]), status.adapter, status.model)
    return training.start("quick", settings).name


def preferred_after(run: Run, lens: Lens, pairs: ShownPairs) -> str:
    """In words what people prefer who voted on a run's adapter against the one that it went on from; '' where those two
    do not answer now, or nobody has voted."""
    status = lens.status()
    card, against = status.adapter, status.against
    if card is None or against is None or card.path.resolve() != run.adapter.resolve():
        return ""
    if against.path.resolve() != (run.path / start_adapter.FOLDER).resolve():
        return ""
    return pairs.preferred(f"{status.fingerprint}+{card.fingerprint}", f"{status.fingerprint}+{against.fingerprint}")


def evidence_of(lens: Lens) -> Callable[[Any], dict[str, Any]]:
    """What the page's script calls for the evidence of the adapter that answers, from its own record."""

    def evidence_now(_: Any) -> dict[str, Any]:
        status = lens.status()
        return evidence.read(status.adapter.path) if status.adapter and status.against is None else {}

    evidence_now.__name__ = "evidence"
    return evidence_now
