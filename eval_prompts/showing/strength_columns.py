"""One question at several strengths of the adapter, side by side, while the answers are written."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.showing.compare_view import ending, facts
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings
    from eval_prompts.rows import Prompt
    from eval_prompts.serving.lens import Lens
    from eval_prompts.stream import Stream

MOST_COLUMNS = 8
REMEMBERED = 200
UNREAD_SECONDS = 12.0
"""After so long without a look the answers are ended: nobody reads them."""
APART = "This adapter is more than low-rank changes of weights, so each strength has a decoder of its own."


class StrengthColumns:
    """Requests at several strengths, each looked at by its id. All methods may be called from any thread."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._live: OrderedDict[str, tuple[Stream, list[float]]] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, prompt: Prompt, settings: Settings, strengths: Sequence[float], address: str = "") -> Stream:
        """The answers to one question, one for each strength. Raises UserError if it cannot be asked, or the adapter
        has no strengths."""
        if len(strengths) > MOST_COLUMNS:
            raise UserError(f"At most {MOST_COLUMNS} strengths stand side by side.")
        return self._lens.ask([prompt], settings, strengths=strengths, address=address)

    def begin(self, prompt: Prompt, settings: Settings, strengths: Sequence[float], address: str = "") -> str:
        """Ask, and return the id under which the answers are looked at; see :meth:`ask`."""
        stream, looked = self.ask(prompt, settings, strengths, address), [time.monotonic()]
        name = secrets.token_hex(16)
        with self._lock:
            self._live[name] = stream, looked
            while len(self._live) > REMEMBERED:
                self._live.popitem(last=False)[1][0].cancel()
        threading.Thread(target=follow, args=(stream, looked), name="columns", daemon=True).start()
        return name

    def look(self, name: Any) -> dict[str, Any]:
        """The answers as they stand. Raises UserError for an id that is not known any more, or a failed request."""
        stream, looked = self._of(name)
        looked[0] = time.monotonic()
        if stream.error is not None:
            raise UserError(stream.error)
        return columns_view(stream)

    def stop(self, name: Any) -> None:
        """End the answers. Raises UserError for an id that is not known any more."""
        self._of(name)[0].cancel()

    def _of(self, name: Any) -> tuple[Stream, list[float]]:
        found = self._live.get(name) if isinstance(name, str) else None
        if found is None:
            raise UserError("These answers are not remembered any more: ask again.")
        return found


def follow(stream: Stream, looked: list[float]) -> None:
    """End a request that nobody looks at."""
    while not stream.wait_over(1.0):
        if time.monotonic() - looked[0] > UNREAD_SECONDS:
            stream.cancel()


def columns_view(stream: Stream) -> dict[str, Any]:
    """The columns of a request: each strength's answer, and whether it is, word for word, that as trained."""
    running = not stream.done  # before the answers, so that those of a request that is over are whole
    answers = stream.answers
    trained = next((answer for answer in answers if answer.strength == 1), None)
    return {
        "columns": [column(answer, trained, stream.settings.max_new_tokens) for answer in answers],
        "running": running,
        "ahead": stream.ahead.answers,
        "notes": [APART] if stream.apart else [],
    }


def column(answer: Answer, trained: Answer | None, cap: int) -> dict[str, Any]:
    """One strength's answer."""
    same = trained is not None and answer.done and trained.done and answer.text == trained.text
    return {
        "strength": answer.strength,
        "text": answer.said,
        "state": answer.state,
        "tokens": answer.tokens,
        "facts": facts(answer),
        "ending": ending(answer, cap),
        "as_trained": same,
    }
