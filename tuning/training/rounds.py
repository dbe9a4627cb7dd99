"""Rounds of rejection sampling (``--objective verified``): the model as it stands answers the training questions that
have a check, and what passes is trained with the data's own answers until the next round.

After Yuan et al. 2023 (arXiv 2308.01825): sample k answers, keep the different ones that pass. What a round keeps lies
in the run's folder, so a resumed run trains the same; one that was killed while it asked goes on with what is answered.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tuning.data.chat import Example, Unit
from tuning.data.cleaning import Row
from tuning.data.encoding import Encoder, units_of
from tuning.errors import UserError
from tuning.files import write_json
from tuning.models.of_config import longest_example
from tuning.runs import start_adapter
from tuning.training.adapter.keeping import write_adapter
from tuning.training.answering import Answered, Answerer, every

if TYPE_CHECKING:
    from tuning.training.setup import Job

FOLDER = "rounds"
TOLD_SECONDS = 3.0
MOST_TOKENS = 1024
"""Longest answer that is asked for: as long as the data's longest, but never longer than this."""


@dataclass(frozen=True)
class Round:
    """What one round asked and kept: ``kept`` are texts by the id of their row. ``left_out`` counts passing answers
    that are not trained, by reason."""

    number: int
    first_step: int
    questions: int
    answers: int
    ended: int
    passed: int
    solved: int
    kept: tuple[tuple[str, str], ...]
    left_out: dict[str, int] = field(default_factory=dict)
    unasked: int = 0

    def figures(self) -> dict[str, Any]:
        """As an event tells it, without the texts."""
        return asdict(self) | {"kept": len(self.kept)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Round:
        """What a round's file holds."""
        return cls(**{**content, "kept": tuple((id, text) for id, text in content["kept"])})


def first_steps(max_steps: int, rounds: int) -> list[int]:
    """The step (counted from 0) that each round begins with."""
    return [number * max_steps // rounds for number in range(rounds)]


def kept_of(found: Answered, rows: Mapping[str, Row], most: int) -> tuple[list[tuple[str, str]], Counter[str]]:
    """The answers that a round trains: those that pass and ended, at most ``most`` different ones to a question, the
    first of them, none of which is the data's own; and how many passing ones are left out, by reason."""
    chosen: list[tuple[str, str]] = []
    seen: dict[str, set[str]] = defaultdict(set)
    taken: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for one in found.answers:
        if not one.passed:
            continue
        text, row = one.text.strip(), rows.get(one.id)
        if row is None:
            raise UserError(f"A question of this round ({one.id}) is none of the run's rows any more: start a new run.")
        known = seen[one.id] or {same(answer_of(row))}
        seen[one.id] = known
        if not one.ended:
            left_out["did not end by themselves"] += 1
        elif same(text) in known:
            left_out["are the data's own answer or the same again"] += 1
        elif taken[one.id] >= most:
            left_out[f"are more than {most} to one question"] += 1
        else:
            known.add(same(text))
            taken[one.id] += 1
            chosen.append((one.id, text))
    return chosen, left_out


def same(text: str) -> str:
    """What is alike in answers that differ in white space alone."""
    return " ".join(text.split())


def answer_of(row: Row) -> str:
    """The data's own answer."""
    return row.turns[last_answer(row)].text if row.turns else row.answer


def last_answer(row: Row) -> int:
    """The place of a conversation's last answer, which is the one that is asked for."""
    return max(at for at, turn in enumerate(row.turns) if turn.role == "assistant")


def with_answer(row: Row, text: str) -> Row:
    """The row with another answer in place of its last one, which alone is trained; what comes after it is left out."""
    if not row.turns:
        return replace(row, answer=text)
    last = last_answer(row)
    before = [replace(turn, trained=False) for turn in row.turns[:last]]
    return replace(row, answer=text, turns=(*before, replace(row.turns[last], text=text, trained=True)))


class Rounds:
    """The rounds of one run. :meth:`enter` is called before every step."""

    def __init__(self, job: Job, rows: Iterable[Row], answer: Answerer) -> None:
        self.job, self.answer = job, answer
        self.rows = {row.id: row for row in rows}
        self.own: Sequence[Unit] = job.session.examples
        self.first = first_steps(job.config.max_steps, job.config.rounds)
        self.number = 0
        """Of the round whose answers are being trained, counted from 1; 0 before the first."""

    def begins(self, step: int) -> bool:
        """Whether a round begins with this step: what it asks is answered by the adapter that is saved before it."""
        return step in self.first

    def enter(self, step: int, should_stop: Callable[[], bool]) -> bool:
        """Train the answers of the round that ``step`` lies in, asking for them where that was not done; False if it is
        to stop first."""
        number = sum(first <= step for first in self.first)
        if number == self.number:
            return True
        job, first = self.job, self.first[number - 1]
        found = job.session.ranks.share(self._found(number, step, should_stop) if job.session.ranks.first else None)
        if found is None:
            return False
        kept, too_long = self._encoded(found)
        if too_long:
            found = replace(found, left_out=found.left_out | {"are too long to be trained": too_long})
        session = job.session
        session.take([*self.own, *kept], first_step=first, order=number - 1)
        self.number = number
        if step == first:
            job.emit("round", step=step, of=len(self.first), trained=len(kept), **found.figures())
        return True

    def _found(self, number: int, step: int, should_stop: Callable[[], bool]) -> Round | None:
        """What the round kept, by the run's first process; None if it is to stop first."""
        place = self.job.folder / FOLDER / f"{number}.json"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            content = json.loads(place.read_text(encoding="utf-8"))
            # Before the first checkpoint a run may be resumed with other data or another base.
            if content.pop("of", self.job.identity) == self.job.identity:
                return Round.from_dict(content)
        if step != self.first[number - 1]:
            raise UserError(f"What round {number} kept is gone ({place.name}): start a new run.")
        found = self._ask(number, step, should_stop)
        if found is None:
            return None
        chosen, left_out = kept_of(found, self.rows, self.job.config.keep)
        passing = [one for one in found.answers if one.passed]
        done = Round(
            number=number,
            first_step=step,
            questions=len({one.id for one in found.answers}),
            answers=len(found.answers),
            ended=sum(one.ended for one in found.answers),
            passed=len(passing),
            solved=len({one.id for one in passing}),
            kept=tuple(chosen),
            left_out=dict(left_out),
            unasked=found.unasked,
        )
        write_json(place, asdict(done) | {"of": self.job.identity})
        shutil.rmtree(self.job.folder / FOLDER / f"adapter-{number}", ignore_errors=True)
        return done

    def _ask(self, number: int, step: int, should_stop: Callable[[], bool]) -> Answered | None:
        job, config = self.job, self.job.config
        folder = job.folder / FOLDER
        folder.mkdir(exist_ok=True)
        adapter = folder / f"adapter-{number}"
        fresh = step == 0 and config.from_adapter is None
        if not fresh:
            write_adapter(job, adapter, step)
        longest = max((one.label_count for one in self.own if isinstance(one, Example)), default=MOST_TOKENS)
        request = {
            "run": str(job.folder),
            "folder": str(folder / f"answers-{number}"),
            "adapter": None if fresh else str(adapter),
            "checked_by": config.checked_by,
            "samples": config.samples,
            "temperature": config.temperature,
            "seed": config.seed + number,
            "max_new_tokens": min(longest, MOST_TOKENS),
        }
        who = "the base" if fresh else start_words(config.from_adapter) if step == 0 else "the adapter as it stands"
        job.session.say(
            f"Round {number} of {len(self.first)}: {who} answers the questions that have a check, {config.samples} "
            f"times each, at most {request['max_new_tokens']} tokens, temperature {config.temperature:g}."
        )

        def tell(done: int, total: int) -> None:
            if total:
                job.emit("sampling", step=step, round=number, of=len(self.first), done=done, total=total)

        return self.answer(request, every(TOLD_SECONDS, tell), should_stop)

    def _encoded(self, found: Round) -> tuple[list[Unit], int]:
        """The kept answers as examples, and how many do not fit."""
        longest = longest_example(self.job.config, self.job.weights)
        encoder = Encoder(self.job.tokenizer, self.job.prompt_format, longest)
        units: list[Unit] = []
        too_long = 0
        for id, text in found.kept:
            made = units_of(encoder, with_answer(self.rows[id], text))
            if made is None or any(unit.truncated for unit in made):
                too_long += 1
                continue
            units += made
        return units, too_long


def start_words(adapter: str | None) -> str:
    """Who answers before the first step of a run that goes on from an adapter."""
    return f"the adapter {start_adapter.called(adapter or '')}"
