"""What the Lens tab and scripts ask besides texts: one question at several strengths, figures over a set, and curves of
strength (``/compare_strengths``, ``/start_survey``, ``/stop_survey``, ``/survey``, ``/surveys``)."""

from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.rows import Prompt
from eval_prompts.showing.compare_view import settings_from
from eval_prompts.showing.strength_columns import columns_view
from eval_prompts.surveys.curve import STRENGTHS, strengths_of
from eval_prompts.tabs.compare_tab import ASKING_AT_ONCE, address_of
from eval_prompts.tabs.lens_tab import Function, LensFunctions
from tuning.errors import UserError
from tuning.shared_tab import Answer, IsOwner, add_endpoint, answered, text

if TYPE_CHECKING:
    from eval_prompts.showing.strength_columns import StrengthColumns
    from eval_prompts.surveys.surveys import Surveys


class SurveyFunctions:
    """What the page's script and scripts call of strengths side by side and of surveys."""

    def __init__(
        self,
        lens: LensFunctions,
        columns: "StrengthColumns",
        surveys: "Surveys",
        is_owner: IsOwner,
    ) -> None:
        self._lens, self._columns, self._surveys, self._is_owner = lens, columns, surveys, is_owner

    @property
    def of_page(self) -> list[Function]:
        """What the Lens tab calls."""
        reading = (self.strengths_begin, self.strengths_look, self.strengths_stop, self.survey, self.survey_form)
        return [answered(each) for each in (*reading, self.start_survey, self.stop_survey, self.use_best)]

    def asked(self, question: Any, task: str, strengths: Any) -> tuple[Prompt, list[float]]:
        """A question as it is put, and the strengths. Raises UserError for what is none."""
        prompt = Prompt(question, self._lens.messages(question, task), len(question))
        return prompt, strengths_of(strengths or list(STRENGTHS))

    def strengths_begin(self, wish: Answer, request: gr.Request) -> Answer:
        """For the page: ask a ``question`` at some ``strengths``; tells the id to look at."""
        self._lens.check_open(request)
        prompt, strengths = self.asked(wish.get("question"), "", wish.get("strengths"))
        settings = settings_from(wish.get("tokens", 300), 0, 1, 0)
        return {"id": self._columns.begin(prompt, settings, strengths, address_of(request))}

    def strengths_look(self, wish: Answer) -> Answer:
        """For the page: the answers as they stand, by the ``id``."""
        return self._columns.look(wish.get("id"))

    def strengths_stop(self, wish: Answer) -> Answer:
        """For the page: end them."""
        self._columns.stop(wish.get("id"))
        return {}

    def look(self, name: Any, request: gr.Request) -> dict[str, Any]:
        """A survey as this visitor may see it. Raises UserError for none of that name, and while answers are blind."""
        owner = self._is_owner(request)
        self._lens.check_open(request)
        if not isinstance(name, str):
            raise UserError("A survey is named by text.")
        return self._surveys.look(name, owner)

    def survey(self, wish: Answer, request: gr.Request) -> Answer:
        """For the page: a survey by its ``name`` ('' for the one at work, or the newest), and those that are kept (see
        :meth:`Surveys.history`)."""
        view = self.look(wish.get("name", ""), request)
        return {"survey": view, **self._surveys.history(), "owner": self._is_owner(request)}

    def survey_form(self, _: Answer) -> Answer:
        """For the page, and the owner alone: what may be measured."""
        return self._surveys.form()

    def start_survey(self, wish: Answer) -> Answer:
        """For the page, and the owner alone: begin one."""
        return {"name": self._surveys.start(wish.get("kind"), wish)}

    def use_best(self, wish: Answer) -> Answer:
        """For the page, and the owner alone: have the adapter speak at the strength that the curve of a ``name`` found
        best for it."""
        return self._lens.use_strength(self._surveys.best(text(wish, "name")), [], [])

    def stop_survey(self, _: Answer) -> Answer:
        """For the page, and the owner alone: end the one at work."""
        return {"name": self._surveys.stop()}


def build_endpoints(
    functions: SurveyFunctions, lens: LensFunctions, columns: "StrengthColumns", surveys: "Surveys"
) -> None:
    """Adds the named endpoints to the current ``gr.Blocks``."""

    def compare_strengths(
        question: str,
        request: gr.Request,
        strengths: list[float] | None = None,
        max_new_tokens: int = 300,
        task: str = "",
    ) -> list[dict[str, Any]]:
        """The adapter's greedy answers to one question at several strengths, all computed in one batch where it can.

        Args:
            question: a question, at most 20,000 characters.
            strengths: at most eight numbers from 0 (the base) over 1 (as trained) to 2; 0, 0.5, 1 and 1.5 unless given.
            max_new_tokens: where an answer is cut off at the latest.
            task: the name of a task (see /tasks), whose prompt the question is put in; empty for the one in use, or, if
                the owner chose none, for the prompt that the adapter was trained in.

        Returns:
            One object for each strength with strength, text, state, tokens and as_trained (whether it is, word for
            word, the answer at strength 1).
        """
        lens.check_open(request)
        prompt, chosen = functions.asked(question, task, strengths)
        settings = settings_from(max_new_tokens, 0, 1, 0)
        stream = columns.ask(prompt, settings, chosen, address_of(request))
        stream.result()
        kept = ("strength", "text", "state", "tokens", "as_trained")
        return [{name: each[name] for name in kept} for each in columns_view(stream)["columns"]]

    def start_survey(kind: str, options: dict[str, Any] | None = None) -> str:
        """Begins to measure what tuning changed over a set, or score and forgetting against strength, behind everybody
        who asks. For the owner alone.

        Args:
            kind: 'set' or 'curve'.
            options: task (a name; empty for the one in use), or for a set data (a data set, or 'held-out') or suite (a
                file on the server); limit; for a set answers (true reads both sides' own answers instead of the
                references), for a curve strengths.

        Returns:
            The survey's name.
        """
        if not isinstance(options, dict | None):
            raise UserError('The options are an object, such as {"limit": 50}.')
        return surveys.start(kind, options or {})

    def stop_survey() -> str:
        """Lets the survey at work end; a set keeps the figures of what was read. For the owner alone.

        Returns:
            The survey's name.
        """
        return surveys.stop()

    def survey(request: gr.Request, name: str = "") -> dict[str, Any]:
        """How a survey stands, with its figures once it is over.

        Args:
            name: its name; empty for the one at work, or the newest.

        Returns:
            One object with name, kind, about, adapter, state ('running', 'finished', 'stopped' or 'failed'), done,
            total, words, notes (what was left out), result (docs/lens.md describes it) and problem.
        """
        return functions.look(name, request)

    def list_surveys(request: gr.Request) -> list[dict[str, Any]]:
        """The newest 50 surveys that are over, with what each was about, newest first; /survey finds older ones, too.

        Returns:
            One object for each with name, kind, about, adapter, state and began.
        """
        lens.check_open(request)
        return list(surveys.history()["kept"])

    list_surveys.__name__ = "surveys"
    add_endpoint(compare_strengths, concurrency_limit=ASKING_AT_ONCE, concurrency_id="asking")
    for answer in (start_survey, stop_survey, survey, list_surveys):
        add_endpoint(answer, queue=False)
