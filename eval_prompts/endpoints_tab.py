"""The page's named endpoints, for scripts: ``/ask``, ``/ask_probes`` and ``/status``."""

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.compare_tab import ASKING_AT_ONCE, Visitors
from eval_prompts.compare_view import settings_from
from eval_prompts.probes import PROBES
from eval_prompts.report import answer_dict
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.service import Lens


def build(lens: "Lens", visitors: Visitors) -> None:
    """Adds the endpoints to the current ``gr.Blocks``; they share the page's queue and its rules."""

    def ask(
        question: str,
        request: gr.Request,
        max_new_tokens: int = 300,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[tuple[str, str]]:
        """Asks both models one question and streams their answers so far.

        Args:
            question: a question about Python, at most 20,000 characters.
            max_new_tokens: where an answer is cut off at the latest.
            temperature: 0 always takes the likeliest token; higher is more varied.
            top_p: the share of probability that stays in play when the temperature is above 0.
            seed: the same seed gives the same text twice.

        Returns:
            The base model's answer and the tuned model's answer.
        """
        settings = settings_from(max_new_tokens, temperature, top_p, seed)
        session = request.session_hash or ""
        stream = lens.ask([question], settings, visitor=session)
        for base, tuned in visitors.follow(stream, session):
            yield base.text, tuned.text

    def ask_probes(
        request: gr.Request,
        max_new_tokens: int = 300,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[list[dict]]:
        """Asks both models the five probe questions and streams the ten answers so far.

        Args:
            max_new_tokens: where an answer is cut off at the latest.
            temperature: 0 always takes the likeliest token; higher is more varied.
            top_p: the share of probability that stays in play when the temperature is above 0.
            seed: the same seed gives the same text twice.

        Returns:
            Ten objects with probe, question, side ('base' or 'tuned'), text, tokens, seconds, and stopped, which is
            true once the model has ended the answer itself.
        """
        settings = settings_from(max_new_tokens, temperature, top_p, seed)
        session = request.session_hash or ""
        stream = lens.ask([probe.question for probe in PROBES], settings, visitor=session)
        for answers in visitors.follow(stream, session):
            yield [answer_dict(answer) for answer in answers]

    def status() -> dict:
        """What is loaded, from where, and what the server does right now.

        Returns:
            One object with state ('loading', 'ready' or 'failed'), message, progress, model, origin, device, adapter,
            base_is_base, memory_mb, answering, queued, uptime_seconds and version.
        """
        return lens.status().to_dict()

    _add(ask, tuple[str, str])
    _add(ask_probes, list[dict])
    gr.api(status, api_name="status", queue=False)


def _add(stream: Callable[..., Iterator[Any]], step: Any) -> None:
    """A streaming endpoint named after its function. Gradio takes the return annotation for that of one step."""

    def endpoint(*values: Any, **named: Any) -> Iterator[Any]:
        try:
            yield from stream(*values, **named)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    endpoint.__name__, endpoint.__doc__ = stream.__name__, inspect.getdoc(stream)
    endpoint.__annotations__ = {**stream.__annotations__, "return": step}
    endpoint.__signature__ = inspect.signature(stream).replace(return_annotation=step)  # type: ignore[attr-defined]
    gr.api(
        endpoint,
        api_name=stream.__name__,
        concurrency_limit=ASKING_AT_ONCE,
        concurrency_id="asking",
    )
