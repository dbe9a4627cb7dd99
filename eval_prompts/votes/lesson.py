"""What votes can teach: the preference pairs they give, how consistent they are, and what is left out and why."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from eval_prompts.votes.export import conversation, parted
from eval_prompts.votes.names import find_contest
from eval_prompts.votes.vote_statistics import once_each
from tuning.data.options import Reading
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.data.thinking import without_thinking
from tuning.errors import UserError
from tuning.files import data_root, write_whole

if TYPE_CHECKING:
    from eval_prompts.votes.records import VotedPair
    from eval_prompts.votes.store import Ratings
    from tuning.data.dataset import DataSet

USEFUL = 50
"""Pairs below which a run is likelier to learn the voter's few examples than the preference."""
CHOICES = ("base", "tuned")


@dataclass(frozen=True)
class Lesson:
    """Preference pairs from the votes of one contest. ``left_out`` counts votes, or pairs, by reason; ``agreement`` is
    the share of votes on the same answers that agree, ``kappa`` that beyond chance, None where nobody voted twice."""

    adapter: str
    fingerprint: str
    rows: tuple[dict[str, Any], ...]
    votes: int
    raters: int
    questions: int
    left_out: dict[str, int]
    agreement: float | None
    kappa: float | None

    def words(self) -> str:
        """Counts and consistency, for people."""
        told = f"{counted(len(self.rows), 'pair')} on {counted(self.questions, 'question')}"
        words = [f"{told}, by {counted(self.raters, 'person', 'people')}, from {counted(self.votes, 'vote')}."]
        if self.left_out:
            words.append(f"Left out: {'; '.join(counted_words(*each) for each in self.left_out.items())}.")
        if self.agreement is not None and self.kappa is not None:
            words.append(f"Votes on the same answers agree {self.agreement:.0%} of the time (kappa {self.kappa:.2f}).")
        return " ".join(words)

    @cached_property
    def data(self) -> DataSet | None:
        """The pairs as a run reads and splits them; None where it finds none to read."""
        from tuning.data.dataset import load

        with TemporaryDirectory() as folder:
            file = Path(folder) / "votes.jsonl"
            file.write_text(text_of(self.rows), encoding="utf-8")
            try:
                return load(str(file), reading=Reading(preference=True))
            except UserError:
                return None

    @property
    def trained(self) -> int:
        """How many pairs a run trains."""
        return len(self.data.train) if self.data else 0

    @property
    def held_out(self) -> int:
        """How many pairs a run holds out: their questions are asked in the blind round after it."""
        return len(self.data) - self.trained if self.data else 0

    def split_words(self) -> str:
        """What becomes of the pairs in a run, for people; '' where there are none."""
        if not self.rows:
            return ""
        words = f"A run trains {self.trained:,} of them and holds {self.held_out:,} out for the blind round afterwards"
        dropped = self.data.dropped.items() if self.data else ()
        return "; ".join([words, *(f"{count:,} left out ({reason})" for reason, count in dropped)]) + "."

    def warning(self) -> str:
        """What speaks against learning from these pairs, or ''."""
        if not self.rows:
            return "There is nothing to learn from yet."
        if not self.trained:
            return "None of them would be trained: vote on more questions."
        found = []
        if not self.held_out:
            found.append("None of them would be held out, so no blind round could follow: vote on more questions.")
        if len(self.rows) < USEFUL:
            found.append(f"Fewer than {USEFUL} pairs teach little: expect the adapter to learn them by heart.")
        if self.kappa is not None and self.kappa < 0.2:
            found.append("The votes contradict each other nearly as often as chance would: they can teach little.")
        return " ".join(found)

    def to_dict(self) -> dict[str, Any]:
        """For the page."""
        return {
            "pairs": self.trained,
            "words": f"{self.words()} {self.split_words()}".strip(),
            "warning": self.warning(),
        }


def counted(count: int, one: str, several: str = "") -> str:
    """A number with what it counts."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def counted_words(reason: str, count: int) -> str:
    """A reason, which begins with 'votes', with how many there are."""
    return f"{count:,} {reason}" if count != 1 else f"1 vote{reason.removeprefix('votes')}"


def lesson(ratings: Ratings, adapter: str | None, blind_only: bool = True) -> Lesson:
    """The lesson of one adapter's votes (by its title, name or fingerprint, or of the one asked last).

    Raises UserError if the database cannot be read or has no votes on that adapter.
    """
    contest = find_contest(ratings.contests(), adapter)
    if contest is None:
        raise UserError("There are no votes yet: compare answers and vote first.")
    sides = contest.tuned, contest.base
    votes = [voted for voted in ratings.votes() if (voted.pair.tuned.fingerprint, voted.pair.base.fingerprint) == sides]
    return of_votes(votes, contest.label, contest.tuned, blind_only)


def of_votes(votes: Sequence[VotedPair], adapter: str, fingerprint: str, blind_only: bool) -> Lesson:
    """The lesson of these votes, which are all on one adapter against the same other side."""
    left_out: Counter[str] = Counter()
    used = [voted for voted in votes if voted.vote.blind or not blind_only]
    if len(used) < len(votes):
        left_out["votes with the names in sight"] = len(votes) - len(used)
    counted = once_each(used)
    if len(counted) < len(used):
        left_out["votes repeated by the same person"] = len(used) - len(counted)
    by_answers: dict[str, list[VotedPair]] = defaultdict(list)
    for voted in counted:
        reason = unusable(voted)
        if reason:
            left_out[reason] += 1
        else:
            by_answers[key_of(voted)].append(voted)
    agreed = {key: group for key, group in by_answers.items() if len({each.vote.outcome for each in group}) == 1}
    if against := sum(len(group) for key, group in by_answers.items() if key not in agreed):
        left_out["votes against each other on the same answers"] = against
    chosen = [group[0] for group in agreed.values()]
    agreement, kappa = consistency(by_answers.values())
    return Lesson(
        adapter=adapter,
        fingerprint=fingerprint,
        rows=tuple(row_of(voted) for voted in chosen),
        votes=len(votes),
        raters=len({each.vote.session for group in agreed.values() for each in group}),
        questions=len({voted.pair.question for voted in chosen}),
        left_out=dict(left_out),
        agreement=agreement,
        kappa=kappa,
    )


def unusable(voted: VotedPair) -> str:
    """Why a vote teaches nothing, or ''."""
    outcome = voted.vote.outcome
    if outcome not in CHOICES:
        return "votes for no side"
    if voted.pair.question.strip() in PROBE_QUESTIONS.values():
        return "votes on the example questions, which stay for comparing"
    better = getattr(voted.pair, outcome)
    worse = voted.pair.base if outcome == "tuned" else voted.pair.tuned
    if better.state != "ended":
        return "votes for an answer that did not end by itself"
    if "tuned_messages" in voted.pair.settings:
        return "votes on later turns where each side went on from its own answer, so that the prompts differ"
    texts = [without_thinking(answer.text).strip() for answer in (better, worse)]
    if texts[0] == texts[1]:
        return "votes between equal answers"
    if not all(texts):
        return "votes on an empty answer"
    return ""


def key_of(voted: VotedPair) -> str:
    """What is the same for votes on the same two answers to one prompt."""
    pair = voted.pair
    return json.dumps([conversation(pair), *(without_thinking(answer.text) for answer in (pair.base, pair.tuned))])


def row_of(voted: VotedPair) -> dict[str, Any]:
    """A vote as a preference pair of messages, without drafts, as the votes are exported."""
    outcome = str(voted.vote.outcome)
    messages = parted(voted.pair, outcome, "tuned" if outcome == "base" else "base")
    return dict(zip(("prompt", "chosen", "rejected"), messages, strict=True))


def consistency(groups: Iterable[Sequence[VotedPair]]) -> tuple[float | None, float | None]:
    """Agreement of votes on the same answers, and that beyond chance (J. L. Fleiss, 1971): (mean share of agreeing
    pairs of votes - expected) / (1 - expected), over the answers with more than one vote."""
    several = [[str(each.vote.outcome) for each in group] for group in groups if len(group) > 1]
    if not several:
        return None, None
    shares = []
    for outcomes in several:
        counts, n = Counter(outcomes), len(outcomes)
        shares.append(sum(count * (count - 1) for count in counts.values()) / (n * (n - 1)))
    agreement = sum(shares) / len(shares)
    total = sum(len(outcomes) for outcomes in several)
    parts = [sum(outcomes.count(side) for outcomes in several) / total for side in CHOICES]
    expected = sum(part * part for part in parts)
    return agreement, 1.0 if expected == 1 else (agreement - expected) / (1 - expected)


def run_settings(found: Lesson, data: Path, model: str, adapter: Path) -> dict[str, Any]:
    """What a run that learns from a lesson, written to ``data``, changes of the quick preset: it goes on from the
    adapter that was voted on."""
    return {
        "model": model,
        "objective": "dpo",
        "data": str(data),
        "from_adapter": str(adapter),
        "learning_rate": 1e-4,
        "dropout": 0.0,
        "epochs": 3.0,
        "batch_size": min(16, max(1, found.trained)),
        "sample_every": 0,
        "warmup_steps": 2,
    }


def write(found: Lesson) -> Path:
    """The pairs as a file in the data folder, named by its content. Raises UserError if there are none."""
    if not found.rows:
        raise UserError(f"There is nothing to learn from. {found.words()}")
    text = text_of(found.rows)
    name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    path = data_root() / "preferences" / f"votes-{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path


def text_of(rows: Sequence[dict[str, Any]]) -> str:
    """Pairs as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
