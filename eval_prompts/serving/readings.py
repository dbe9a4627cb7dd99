"""The lens as a service: texts read by both models, one at a time, and what the adapter does to the weights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eval_prompts.lens.view import Written
from eval_prompts.models.mmap_pages import release_pages
from eval_prompts.models.strength import Strength, layer_groups
from eval_prompts.serving.local import in_a_thread_that_ends
from eval_prompts.serving.reading_thread import READING
from eval_prompts.serving.status import same_models
from tuning.errors import UserError
from tuning.files import data_root

if TYPE_CHECKING:
    from eval_prompts.lens.likelihood import Known
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.lens.token_tree import Choices
    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.serving.lens import Lens
    from eval_prompts.serving.status import Status
    from tuning.data.chat import Message

T = TypeVar("T")

MOST_WAITING = 8
UNREADABLE = "likelihoods are read of models in this process alone: endpoints on other machines give none"
CHANGED = "the models were changed before it was read"
BUSY = "Others' texts are being read: try again in a moment."
ELSEWHERE = "The adapter is on another machine, so its weights cannot be read from here."
WHOLE = "The tuned side is a whole model and no adapter: it has no factors to describe."
AS_TRAINED = "The figures are those of the adapter as it was trained; its strength is set below."
NO_ADAPTER = "No adapter is loaded, so there is none to describe: choose an adapter."


class Readings:
    """What the page and the endpoints ask of the lens. All methods may be called from any thread."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_WAITING)
        self._reports: dict[tuple[str, str, bool], dict[str, Any]] = {}

    def read(self, messages: Sequence[Message], texts: Mapping[str, Written]) -> dict[str, Reading]:
        """Read some texts as answers to one conversation, by the models here or by their servers. Raises UserError if
        one cannot be read, or too many wait."""
        pair = self._lens.pair

        def work() -> dict[str, Reading]:
            return {
                name: self._lens.read(messages, one.text, ended=one.ended, written=one.ids)
                for name, one in texts.items()
            }

        with self._alone():
            return read_by(pair, work)

    def likelihoods(self, status: Status, side: Side, choices: Choices) -> Known:
        """How likely a side finds some answers to one conversation. Raises UserError if they cannot be read, or where
        the models are no longer those that ``status`` tells of."""
        with self._turn:
            (found,) = read_choices(self._lens, side, [choices])
        if not same_models(status, self._lens.status()):
            raise UserError(CHANGED)
        if isinstance(found, UserError):
            raise found
        return found

    def report(self, side: Side = "tuned", directions: bool = False) -> dict[str, Any]:
        """What the adapter of a side does to the weights; see :mod:`eval_prompts.lens.adapter_report`. With
        ``directions`` it takes about a second a layer. Raises UserError if there is no adapter, or none of factors."""
        from eval_prompts.lens.adapter_report import report

        status = self._lens.status()
        card = status.against if side == "base" else status.adapter
        if card is None:
            raise UserError(NO_ADAPTER)
        if card.is_model:
            raise UserError(WHOLE)
        if card.path == Path():
            raise UserError(ELSEWHERE)
        key = status.fingerprint, card.fingerprint, directions
        found = self._reports.get(key)
        if found is None:
            with self._alone():
                base = Path(self._lens.loaded_pair().base.name_or_path or "")
                found = in_a_thread_that_ends(lambda: report(card.path, base, directions=directions).to_dict())
            found |= {"adapter": card.name, "base": status.to_dict()["model"], "strength": card.strength}
            found["layer_groups"] = layer_groups([module["module"] for module in found["modules"]])
            if card.strength is not None:
                found["verdicts"].insert(0, AS_TRAINED)
            self._reports = {key: found}
        return found

    def keep(self) -> str:
        """Write the adapter as it speaks now into a folder of its own among the app's data; returns the folder's name.
        Raises UserError if it speaks as trained, or cannot be kept so."""
        from tuning.exports.strength import export_at_strength

        card = self._lens.status().adapter
        if card is None or card.strength is None:
            raise UserError("The adapter speaks as it was trained: there is no other strength to keep.")
        strength = Strength.of(card.strength["strength"], card.strength["layers_off"], card.strength["kinds_off"])
        folder = data_root() / "adapters"
        folder.mkdir(parents=True, exist_ok=True)
        mark = strength.mark.replace("@", "x")
        out = folder / f"{card.path.resolve().name}-{mark}"
        export_at_strength(card.path, out, strength.overall, lambda module: strength.at(module) == 0)
        return str(out)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One reading at a time: two would share the processor with the answers, and each other's memory."""
        if not self._places.acquire(blocking=False):
            raise UserError(BUSY)
        try:
            with self._turn:
                yield
        finally:
            self._places.release()


def read_choices(lens: Lens, side: Side, asked: Sequence[Choices]) -> list[Known | UserError]:
    """The likelihoods of all continuations under one side, in the order of ``asked``; what cannot be read comes as the
    reason, and an empty text has no likelihood. Raises UserError where the models are on other machines or not loaded.
    """
    from eval_prompts.lens.likelihood import likelihoods
    from eval_prompts.lens.token_tree import Choices

    pair = lens.pair
    if pair is None:
        raise UserError(UNREADABLE)
    whole = [Choices(one.messages, tuple(text for text in one.texts if text.text)) for one in asked]
    rounded = lens.status().rounds
    found: list[Known | UserError] = [{} for _ in whole]
    places = [at for at, one in enumerate(whole) if one.texts]

    def work() -> None:
        for number, known in likelihoods(pair, side, [whole[at] for at in places], rounded):
            found[places[number]] = known

    read_by(pair, work)
    return found


def read_by(pair: Pair | None, work: Callable[[], T]) -> T:
    """The result of ``work``, in which a pair's models read; when no more is read their memory is given back."""

    def give_back() -> None:
        from eval_prompts.lens.forward import ROUNDED

        ROUNDED.clear()
        if pair is not None:
            release_pages([*pair.base.parameters(), *(pair.tuned.parameters() if pair.tuned is not None else ())])

    return READING.run(work, give_back=give_back)
