"""The Lens tab, and all else of the lens that the page and scripts ask of the server: readings, continuations and the
adapter's report (``/token_lens``, ``/adapter_report``, ``/use_strength``)."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from eval_prompts.answers import Settings
from eval_prompts.lens.token_lens import Reading
from eval_prompts.lens.view import Written, first_choices, reading_view
from eval_prompts.models.pair import Side
from eval_prompts.models.strength import Strength
from eval_prompts.rows import Prompt
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.readings import Readings
from eval_prompts.showing.pair_lens import asked, pair_view
from eval_prompts.showing.showing import answering
from eval_prompts.showing.shown_pairs import ShownPairs
from eval_prompts.tabs.compare_tab import ASKING_AT_ONCE, address_of
from eval_prompts.tasks.choice import TaskChoice
from tuning.data.chat import Message, check_question
from tuning.errors import UserError
from tuning.shared_tab import Answer, IsOwner, add_endpoint, answered, mount

CONTINUED_TOKENS = 80
BLIND = (
    "Answers are blind here, and the lens tells who gave them: it is the owner's, and yours on a pair after your vote."
)
NOT_TEXT = "The text to read must be text."

Function = Callable[[Any, gr.Request], Answer]


class LensFunctions:
    """What the page's script and scripts call of the lens."""

    def __init__(
        self,
        lens: Lens,
        readings: Readings,
        pairs: ShownPairs,
        tasks: TaskChoice,
        is_owner: IsOwner,
    ) -> None:
        self._lens, self._readings, self._pairs, self._tasks, self._is_owner = lens, readings, pairs, tasks, is_owner

    @property
    def of_texts(self) -> list[Function]:
        """What a text's tokens call."""
        return [answered(self.tokens), answered(self.what_if)]

    @property
    def of_adapters(self) -> list[Function]:
        """What the adapter's panel calls."""
        return [answered(self.adapter_report), answered(self.set_strength), answered(self.keep_strength)]

    def messages(self, question: Any, task: str = "") -> tuple[Message, ...]:
        """A question as it is put to the adapter that is loaded, or in a named task's prompt. Raises UserError."""
        if not isinstance(question, str):
            raise UserError("The question must be text.")
        self._lens.limits.check_text(question, "question")
        named = self._tasks.named(task)
        one = named.own_question(check_question(question))
        in_its_own = self._tasks.prompts_for(named, [one], task)
        prompt = named.own_prompt(question) if in_its_own is None else in_its_own(self._lens.status().adapter)[0]
        return prompt.messages

    def check_open(self, request: gr.Request) -> None:
        """Raise UserError for a visitor where all answers are blind: reading one would tell whose it is."""
        if self._pairs.always_blind and not self._is_owner(request):
            raise UserError(BLIND)

    def pasted(self, question: Any, text: Any, task: str, ended: bool) -> Reading:
        """The reading of a text. Raises UserError if it cannot be read."""
        if not isinstance(text, str):
            raise UserError(NOT_TEXT)
        self._lens.limits.check_text(text, "text")
        return self._readings.read(self.messages(question, task), {"text": Written(text, bool(ended))})["text"]

    def tokens(self, wish: Answer, request: gr.Request) -> Answer:
        """For the page: a pair of answers (``pair``), or a text behind a question (``question``, ``text``)."""
        if "pair" in wish:
            found = asked(self._pairs, wish["pair"], self._tasks.task)
            return pair_view(found, self._readings, answering(self._lens.status()))
        self.check_open(request)
        reading = self.pasted(wish.get("question"), wish.get("text"), "", bool(wish.get("ended")))
        return reading_view(reading) | {"parting": first_choices(reading)}

    def what_if(self, wish: Answer, request: gr.Request) -> Answer:
        """For the page: how one side goes on from a beginning (``ids`` in its own tokens, or ``text``), behind the
        question of a pair or another one. Tells the text from its beginning, and how it ended."""
        if "pair" in wish:
            messages = asked(self._pairs, wish["pair"], self._tasks.task).messages[side_of(wish.get("side"))]
        else:
            self.check_open(request)
            messages = self.messages(wish.get("question"))
        self._lens.loaded_pair()
        prompt = Prompt("What if", messages, begun=beginning(wish))
        most = min(CONTINUED_TOKENS, self._lens.limits.answer_tokens)
        side = side_of(wish.get("side"))
        stream = self._lens.ask([prompt], Settings(most), (side,), address=address_of(request))
        [answer] = stream.result()
        return {"text": answer.text, "ended": answer.stopped, "most": most}

    def adapter_report(self, wish: Answer) -> Answer:
        """For the page: what the adapter of a ``side`` does to the weights."""
        return self._readings.report(side_of(wish.get("side", "tuned")))

    def use_strength(self, overall: Any, layers_off: Any, kinds_off: Any) -> dict[str, Any]:
        """Have the adapter speak at a strength from the next answer on. Raises UserError if it cannot."""
        card = self._lens.set_strength(Strength.of(overall, layers_off, kinds_off))
        return {
            "adapter": card and card.name,
            "strength": card and card.strength,
            "notes": list(card.notes if card else ()),
        }

    def set_strength(self, wish: Answer) -> Answer:
        """For the page, and the owner alone: how strongly the adapter speaks, as :meth:`use_strength` takes it."""
        return self.use_strength(wish.get("strength"), wish.get("layers_off", []), wish.get("kinds_off", []))

    def keep_strength(self, _: Answer) -> Answer:
        """For the page, and the owner alone: the adapter as it speaks now, written to a folder of its own."""
        return {"folder": self._readings.keep()}


def side_of(name: Any) -> Side:
    """A side by its name. Raises UserError for any other."""
    if name == "base":
        return "base"
    if name == "tuned":
        return "tuned"
    raise UserError("A side is named 'base' or 'tuned'.")


def beginning(wish: dict[str, Any]) -> str | tuple[int, ...]:
    """How an answer begins, in tokens or as text. Raises UserError for anything else."""
    ids, text = wish.get("ids"), wish.get("text", "")
    if isinstance(ids, list) and all(type(token) is int for token in ids):
        return tuple(ids)
    if ids is None and isinstance(text, str):
        return text
    raise UserError("An answer begins with tokens or with text.")


def build(functions: LensFunctions, more: Sequence[Function] = ()) -> None:
    """The Lens tab inside the current layout; ``more`` are what its strengths and surveys call."""
    mount("LoraLens.mountLens(element, server)", "ll-lens", [*functions.of_texts, *more])


def build_endpoints(functions: LensFunctions, readings: Readings, is_owner: IsOwner) -> None:
    """Adds the named endpoints to the current ``gr.Blocks``."""

    def token_lens(
        question: str, text: str, request: gr.Request, task: str = "", ended: bool = False
    ) -> dict[str, Any]:
        """How sure both models are of every token of a text as the answer to a question.

        Args:
            question: a question, at most 20,000 characters.
            text: the answer that is read, at most 20,000 characters; control tokens in it stay text.
            task: the name of a task (see /tasks), whose prompt the question is put in; empty for the one in use, or, if
                the owner chose none, for the prompt that the adapter was trained in.
            ended: whether the token that closes an answer is read, too.

        Returns:
            One object with figures, notes (what was cut or approximated), parts_at (the first token at which the
            models' first choices differ, or null) and tokens; docs/lens.md describes it.
        """
        functions.check_open(request)
        return functions.pasted(question, text, task, ended).to_dict()

    def adapter_report(request: gr.Request, directions: bool = False) -> dict[str, Any]:
        """What the loaded adapter does to the weights, layer by layer.

        Args:
            directions: whether to compare with the weights' own directions and count intruder dimensions, too, which
                takes about a second a layer; for the owner alone.

        Returns:
            One object with adapter, base, modules (figures of each layer), verdicts (in words), left_out and unmatched;
            docs/lens.md describes it.
        """
        if directions and not is_owner(request):
            raise UserError("The weights' directions take long to compute, so only the owner asks for them.")
        return readings.report(directions=bool(directions))

    def use_strength(
        strength: float, layers_off: list[int] | None = None, kinds_off: list[str] | None = None
    ) -> dict[str, Any]:
        """Has the adapter speak at another strength from the next answer on. For the owner alone.

        Args:
            strength: from 0, the base, over 1, the adapter as trained, to 2.
            layers_off: numbers of layers in which it is switched off.
            kinds_off: kinds of module in which it is switched off, such as q_proj.

        Returns:
            One object with adapter (its name now), strength (null as trained) and notes.
        """
        return functions.use_strength(strength, layers_off or [], kinds_off or [])

    add_endpoint(use_strength, queue=False)
    add_endpoint(token_lens, concurrency_limit=ASKING_AT_ONCE, concurrency_id="reading")
    add_endpoint(adapter_report, concurrency_limit=ASKING_AT_ONCE, concurrency_id="reading")
