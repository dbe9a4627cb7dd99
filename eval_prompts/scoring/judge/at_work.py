"""A judge model asked from the page: one scoring at a time, in the background, stopped and gone on with."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.scoring.folder import Scoring, State
from eval_prompts.scoring.judge.pairs import RUBRIC, judge_pairs, kept_lines, pairs_of
from eval_prompts.scoring.judge.replies import KEY_VARIABLE, Reply, endpoint_reply, local_reply
from eval_prompts.serving.endpoint import Endpoint
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.serving.lens import Lens
    from eval_prompts.votes.records import VotedPair

LONGEST_RUBRIC = 4000
LONGEST_NAME = 500
SECONDS = 60.0
"""The longest that one reply may take."""
ENDED_EARLY = "The judge has ended early, and why is told to the server's owner."
FAULT = "The judge failed on the server, and its log says why: start it again, and it goes on where it was."
LOCAL_NAME = "{model} (the base that is loaded)"

log = logging.getLogger(__name__)


class Judging:
    """The judge at work, if one is. All methods may be called from any thread."""

    def __init__(self, lens: Lens, votes: Callable[[Mapping[str, Any]], Sequence[VotedPair]] = lambda plan: ()) -> None:
        """``votes`` gives what people voted on the sides that a plan tells of. Raises UserError where it cannot."""
        self._lens, self._votes = lens, votes
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._scoring, self._problem = "", ""
        self._done = self._of = 0

    @property
    def working(self) -> bool:
        """Whether a judge is at work."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, scoring: Scoring, asked: Mapping[str, Any]) -> None:
        """Have a finished scoring's answers judged. ``asked`` has ``url`` and ``model`` of an OpenAI-compatible
        endpoint, or neither for the base that is loaded; ``key``, without which the one of the environment is used, and
        which is kept nowhere; and ``rubric``. Raises UserError for what cannot be judged, and while a judge works."""
        with self._lock:
            if self.working:
                raise UserError(f"A judge is at work on {self._scoring}: wait for its end, or stop it.")
            plan = scoring.plan()
            if set(plan["sides"]) != {"base", "tuned"}:
                raise UserError("A judge compares two answers: score both sides first.")
            if scoring.state()[0] is not State.FINISHED:
                raise UserError("Let the scoring finish first: a judge compares all of its answers.")
            rubric = _text(asked, "rubric", LONGEST_RUBRIC) or RUBRIC
            name, reply, fingerprint = self._judge(asked)
            pairs, notes = pairs_of(scoring, self._votes(plan))
            if not pairs:
                raise UserError(" ".join(["There are no written answers of both sides to judge.", *notes]))
            self._stop = threading.Event()
            self._scoring, self._problem, self._done, self._of = scoring.name, "", 0, len(pairs)

            def work() -> None:
                self._work(
                    lambda: judge_pairs(
                        scoring, pairs, name, reply, rubric, self._tell, fingerprint=fingerprint, notes=notes
                    )
                )

            self._thread = threading.Thread(target=work, name="judge-model", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let the judge end after the pair that it is asked about; what it said is kept. Raises UserError for none."""
        if not self.working:
            raise UserError("No judge is at work.")
        self._stop.set()

    def close(self) -> None:
        """Let the judge end, and wait a moment for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2)

    def view(self, scoring: Scoring, everything: bool) -> dict[str, Any]:
        """How the judge of a scoring stands, and what it said, in words. Why it ended early is the owner's
        (``everything``), for it may hold an endpoint's address or quote its reply."""
        mine = self._scoring == scoring.name
        problem = self._problem if mine else ""
        return {
            "running": mine and self.working,
            "done": self._done if mine else 0,
            "of": self._of if mine else 0,
            "problem": problem if everything or not problem else ENDED_EARLY,
            "lines": kept_lines(scoring),
        }

    def _judge(self, asked: Mapping[str, Any]) -> tuple[str, Reply, str]:
        """The judge's name, its way to reply, and what tells the weights that are loaded from all others. Raises
        UserError."""
        url, model = _text(asked, "url", LONGEST_NAME), _text(asked, "model", LONGEST_NAME)
        if not url:
            if model:
                raise UserError("Give the address of the endpoint that serves this judge, up to and including /v1.")
            self._lens.wait_ready(0)
            status = self._lens.status()
            if status.against is not None:
                raise UserError("Two adapters are compared now, so the base itself is not loaded: name an endpoint.")
            name = LOCAL_NAME.format(model=status.to_dict()["model"])
            return name, local_reply(self._lens, background=True), status.fingerprint
        if not url.startswith(("http://", "https://")):
            raise UserError("The judge's address begins with http:// or https:// and ends with /v1.")
        if not model:
            raise UserError("Give the judge's name, as its endpoint calls it.")
        key = _text(asked, "key", LONGEST_NAME) or os.environ.get(KEY_VARIABLE, "")
        return model, endpoint_reply(Endpoint(url.rstrip("/"), model, key), SECONDS), ""

    def _tell(self, done: int, of: int) -> None:
        self._done, self._of = done, of
        if self._stop.is_set():
            raise UserError("Stopped by hand: what it said so far is kept, and a new start goes on from there.")

    def _work(self, judge: Callable[[], object]) -> None:
        try:
            judge()
        except UserError as error:
            self._problem = str(error)
        except Exception:
            log.exception("The judge of %s failed", self._scoring)
            self._problem = FAULT


def _text(asked: Mapping[str, Any], name: str, most: int) -> str:
    """A text from outside. Raises UserError for one that is too long."""
    value = asked.get(name)
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > most:
        raise UserError(f"The {name} is longer than {most:,} characters: shorten it.")
    return text
