"""The page's named endpoints for scoring, for scripts: ``/start_scoring``, ``/stop_scoring``, ``/resume_scoring``,
``/extend_scoring``, ``/judge_scoring``, ``/scorings`` and ``/scoring``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.tabs.results_tab import VOTING_IS_OPEN
from tuning.errors import UserError
from tuning.shared_tab import add_endpoint

if TYPE_CHECKING:
    from eval_prompts.scoring.in_app.scorings import Scorings


def build(scorings: "Scorings", is_owner: Callable[[gr.Request], bool], for_all: bool = True) -> None:
    """Adds ``/start_scoring``, ``/stop_scoring``, ``/resume_scoring``, ``/extend_scoring``, ``/judge_scoring``,
    ``/scorings`` and ``/scoring`` to the current ``gr.Blocks``."""

    def may_read(request: gr.Request) -> bool:
        owner = is_owner(request)
        if not (for_all or owner):
            raise UserError(VOTING_IS_OPEN)
        return owner

    def start_scoring(task: str = "", options: dict[str, Any] | None = None) -> str:
        """Begins to score both sides on a task, behind everybody who asks. For the owner alone.

        Args:
            task: the task's name; empty for the one in use.
            options: suite (a file of questions with tests on the server), battery (false leaves out what else may have
                got worse), samples, limit, temperature, max_new_tokens and seed.

        Returns:
            The scoring's name.
        """
        if not isinstance(options, dict | None):
            raise UserError('The options are an object, such as {"limit": 50}.')
        return scorings.start({**(options or {}), "task": task})

    def stop_scoring(scoring: str = "") -> str:
        """Lets the scoring at work end; what it has is kept. For the owner alone.

        Args:
            scoring: its name; empty for the one at work.

        Returns:
            The scoring's name.
        """
        return scorings.stop(scoring)

    def resume_scoring(scoring: str) -> str:
        """Goes on with a scoring that was stopped or interrupted. For the owner alone.

        Args:
            scoring: its name.

        Returns:
            The scoring's name.
        """
        return scorings.resume(scoring)

    def extend_scoring(scoring: str) -> str:
        """Adds what may have got worse elsewhere, the task's battery and what is forgotten, to a finished scoring. For
        the owner alone.

        Args:
            scoring: its name.

        Returns:
            The scoring's name.
        """
        return scorings.extend(scoring)

    def judge_scoring(scoring: str = "", options: dict[str, Any] | None = None) -> str:
        """Has a judge model compare the answers of a finished scoring, in both orders; /scoring tells under "judge" how
        it stands and what it says. For the owner alone.

        Args:
            scoring: its name; empty for the newest.
            options: url and model of an OpenAI-compatible endpoint (neither for the base that is loaded), key (else the
                one of the server's environment; it is kept nowhere) and rubric.

        Returns:
            The scoring's name.
        """
        if not isinstance(options, dict | None):
            raise UserError('The options are an object, such as {"url": "https://host/v1", "model": "name"}.')
        return scorings.judge(scoring, options or {})

    def list_scorings(request: gr.Request) -> list[dict[str, Any]]:
        """All scorings, newest first: what each asks, how far it is, and what it found.

        Returns:
            One object for each with scoring (its name), began, tasks, adapter, samples, state, head and sentence.
        """
        may_read(request)
        return scorings.history()

    def read_scoring(request: gr.Request, scoring: str = "") -> dict[str, Any]:
        """How a scoring stands, with the card and the figures once it is over.

        Args:
            scoring: its name; empty for the one at work, or the newest.

        Returns:
            One object with scoring, state, message, done, total, tasks, card, habits, judge and items (its first
            questions).
        """
        return scorings.look({"scoring": scoring}, may_read(request))

    list_scorings.__name__, read_scoring.__name__ = "scorings", "scoring"
    for function in (
        start_scoring, stop_scoring, resume_scoring, extend_scoring, judge_scoring, list_scorings, read_scoring,
    ):  # fmt: skip
        add_endpoint(function, queue=False)
