"""A judge model rates pairs of answers in both orders.

A verdict that flips with the order is a tie (L. Zheng et al., "Judging LLM-as-a-Judge with MT-Bench", 2023). What it is
worth is told beside it: how often it agrees with this task's own blind votes, with the interval, and whether it follows
length (Y. Dubois et al., "Length-Controlled AlpacaEval", 2024). It is never the headline.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from eval_prompts.scoring.folder import Scoring, translated
from eval_prompts.scoring.judge.replies import JudgeGone, Reply
from eval_prompts.scoring.statistics import wilson
from eval_prompts.scoring.table import READ, Table
from eval_prompts.votes.export import conversations
from eval_prompts.votes.lengths import equal_length
from tuning.errors import UserError
from tuning.files import write_whole
from tuning.runs import events

if TYPE_CHECKING:
    from eval_prompts.votes.records import ShownPair, VotedPair

log = logging.getLogger(__name__)

FILE = "judge.json"
VERDICTS = "judge.jsonl"
GIVE_UP = 3
"""Pairs in a row that the judge does not answer before it is called gone."""
UNREADABLE_AT_FIRST = 6
"""Replies without a verdict, with none before, after which it is no judge."""
FOLLOWS_LENGTH = 0.6
"""A judge prefers the longer answer as a rule where the interval lies above this share."""
RUBRIC = "The better answer is correct, does what was asked, and says nothing that was not asked for."
PROMPT = """You compare two answers to one question. {rubric} Length alone is no merit. The order of the answers means \
nothing.

[Question]
{question}

[Answer A]
{first}

[Answer B]
{second}

Which answer is better? End with one line: [[A]], [[B]], or [[TIE]] if neither is."""
MARKED, BARE = re.compile(r"\[\[\s*(A|B|TIE|C)\s*\]\]", re.IGNORECASE), re.compile(r"\W*(A|B|TIE)\W*", re.IGNORECASE)
LEFT_OUT = "they go on from a conversation that the judge does not read"
Choice = Literal["base", "tuned", "tie", "unreadable"]


@dataclass(frozen=True)
class JudgedPair:
    """One question with both answers, by their lengths in tokens; ``votes`` are what people said of exactly these."""

    key: str
    question: str
    base: str
    tuned: str
    base_tokens: int
    tuned_tokens: int
    scored: bool
    votes: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgeFigures:
    """What a judge said of a scoring's pairs, and what that is worth.

    ``wins`` of ``decided`` pairs went to the tuned side; ``ties`` counts its ties, ``flips`` those of them that are
    verdicts which changed with the order, ``same`` pairs of equal answers, which were not asked. ``longer`` of
    ``compared`` decided pairs went to the longer answer; ``equal`` is the tuned side's win rate at equal length.
    ``agreed`` of ``voted`` blind votes, on the same answers, say the same; ``first`` of ``orders`` verdicts named the
    answer that stood first.
    """

    judge: str
    pairs: int
    wins: int
    decided: int
    ties: int
    flips: int
    same: int
    unreadable: int
    longer: int
    compared: int
    equal: dict[str, float] | None
    agreed: int
    voted: int
    tied_votes: int
    first: int
    orders: int
    notes: list[str] = field(default_factory=list)

    @property
    def follows_length(self) -> bool:
        """Whether it prefers the longer answer as a rule."""
        return wilson(self.longer, self.compared)[0] > FOLLOWS_LENGTH

    @property
    def lines(self) -> list[str]:
        """The judge in words: what it says, never without what that is worth."""
        low, high = wilson(self.wins, self.decided)
        told = f"prefers tuned in {self.wins} of {self.decided} pairs ({low:.0%} to {high:.0%})"
        if self.equal:
            rate, low, high = (self.equal[key] for key in ("rate", "low", "high"))
            told += f", at equal length {rate:.0%} ({low:.0%} to {high:.0%})"
        if not self.decided:
            told = "decided no pair"
        lines = [f"{self.judge} {told}; {self.ties} ties, of which {self.flips} flipped with the order", self.trust]
        if self.follows_length:
            low, high = wilson(self.longer, self.compared)
            lines.append(
                f"it prefers the longer answer in {self.longer} of {self.compared} pairs ({low:.0%} to {high:.0%}): "
                "what it says is about length"
            )
        if self.unreadable:
            lines.append(f"{self.unreadable} of its replies could not be read and count as ties")
        return [*lines, *self.notes]

    @property
    def trust(self) -> str:
        """How far it agrees with people."""
        if not self.voted:
            return "whether it agrees with people is not known: nobody has voted blind on these two"
        low, high = wilson(self.agreed, self.voted)
        tied = f", and on {self.tied_votes} more it was undecided" if self.tied_votes else ""
        return f"it agrees with people on {self.agreed} of {self.voted} blind votes ({low:.0%} to {high:.0%}){tied}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self) | {"follows_length": self.follows_length, "lines": self.lines}


def pairs_of(
    scoring: Scoring, votes: Sequence[VotedPair], limit: int | None = None
) -> tuple[list[JudgedPair], list[str]]:
    """What is to be judged: the first task's first samples that were written, and the pairs that people voted on
    blind and decided; and in words how many are left out, since a judge reads one question and its two answers, and not
    what was said before."""
    table = Table(scoring.plan(), scoring.questions())
    table.add(scoring.follow()[0])
    own = next(iter(table.tasks.values()))
    found: dict[str, JudgedPair] = {}
    left_out = 0
    for number, question in enumerate(own.questions[:limit]):
        base, tuned = (own.answers.get((number, side), {}).get(0) for side in ("base", "tuned"))
        if base is not None and tuned is not None and READ not in (base["state"], tuned["state"]):
            asked = "\n".join(filter(None, [question["question"], question["input"]]))
            if goes_on(question):
                left_out += 1
                continue
            key = _key(asked, base["text"], tuned["text"])
            found[key] = JudgedPair(
                key, asked, base["text"], tuned["text"], base["tokens"], tuned["tokens"], scored=True
            )
    votes_left_out = 0
    for voted in votes:
        if voted.vote.blind and voted.vote.outcome in ("base", "tuned"):
            pair = voted.pair
            if follows_turns(pair, own.plan.get("shots", [])):
                votes_left_out += 1
                continue
            key = _key(pair.question, pair.base.text, pair.tuned.text)
            old = found.get(key) or JudgedPair(
                key, pair.question, pair.base.text, pair.tuned.text, pair.base.tokens, pair.tuned.tokens, scored=False
            )
            found[key] = JudgedPair(**vars(old) | {"votes": (*old.votes, voted.vote.outcome)})
    counts = ((left_out, "question"), (votes_left_out, "vote"))
    told = [f"{count:,} {name}{'s' * (count != 1)}" for count, name in counts if count]
    return list(found.values()), [f"{' and '.join(told)} left out: {LEFT_OUT}"] if told else []


def goes_on(question: Mapping[str, Any]) -> bool:
    """Whether something was said before a question of a scoring: it is a later turn of a conversation, or turns are
    given."""
    if "behind" in question:
        return bool(question["behind"])
    thread = question["cluster"]  # older scorings: a later turn is called by its conversation
    return bool(thread) and str(question["id"]).startswith(f"{thread}/")


def follows_turns(pair: ShownPair, shots: Sequence[Mapping[str, Any]]) -> bool:
    """Whether something was said before the question of a pair, by what its record says the models were given; the
    example turns of the task's prompt (``shots``) are nothing of the kind."""
    before = [[turn for turn in messages if turn["role"] != "system"][:-1] for messages in conversations(pair).values()]
    return pair.turn != 1 or any(turns not in ([], list(shots)) for turns in before)


def judge_pairs(
    scoring: Scoring,
    pairs: Sequence[JudgedPair],
    name: str,
    reply: Reply,
    rubric: str = RUBRIC,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    fingerprint: str = "",
    notes: Sequence[str] = (),
) -> JudgeFigures:
    """Have pairs judged in both orders, and keep the verdicts beside the scoring; those kept already, of the same judge
    and rubric, are not asked again. A judge in this process has a ``fingerprint``, as models that differ may share a
    name; ``notes`` are to be read with what it says. Raises UserError where the judge is gone or gives no verdicts;
    what it has said until then is kept."""
    path = scoring.path / VERDICTS
    with translated(scoring.path):
        path.touch()
        events.end_torn_line(path)
    who = hashlib.sha256("\n".join(filter(None, [name, fingerprint, rubric])).encode()).hexdigest()[:16]
    kept = {event["key"]: event for event in events.read(path)[0] if event.get("judge") == who}
    silent = 0
    for count, pair in enumerate(pairs, 1):
        if pair.key not in kept and pair.base.strip() != pair.tuned.strip():
            try:
                orders = [verdict_in(reply(prompt_for(pair, rubric, turned)), turned) for turned in (False, True)]
            except UserError as error:
                silent += 1
                log.warning("The judge did not answer: %s", error)
                if silent >= GIVE_UP or isinstance(error, JudgeGone):
                    raise UserError(
                        f"{error} What it said of {len(kept)} pairs is kept: run it again to go on."
                    ) from None
                continue
            silent = 0
            kept[pair.key] = {"event": "judged", "judge": who, "key": pair.key, "orders": orders}
            with translated(scoring.path):
                events.append(path, kept[pair.key])
            if len(kept) == UNREADABLE_AT_FIRST and all("unreadable" in one["orders"] for one in kept.values()):
                raise UserError(
                    "The judge's replies hold no verdict such as [[A]]: choose a model that can follow one."
                )
        if on_progress:
            on_progress(count, len(pairs))
    figures = judge_figures(name, pairs, {key: event["orders"] for key, event in kept.items()}, notes)
    with translated(scoring.path):
        write_whole(scoring.path / FILE, json.dumps(figures.to_dict(), ensure_ascii=False, indent=2) + "\n")
    return figures


def prompt_for(pair: JudgedPair, rubric: str, turned: bool) -> str:
    """What the judge reads: the base's answer first, or, ``turned``, the tuned one."""
    first, second = (pair.tuned, pair.base) if turned else (pair.base, pair.tuned)
    return PROMPT.format(rubric=rubric.strip(), question=pair.question, first=first, second=second)


def verdict_in(reply: str, turned: bool) -> Choice:
    """The side that a reply prefers: by its last mark such as [[A]], or a reply of nothing but the letter."""
    marks = MARKED.findall(reply)
    bare = BARE.fullmatch(reply.strip())
    if not marks and bare is None:
        return "unreadable"
    word = (marks[-1] if marks else bare[1] if bare else "").upper()
    if word not in ("A", "B"):
        return "tie"
    return "tuned" if (word == "A") == turned else "base"


def judge_figures(
    name: str, pairs: Sequence[JudgedPair], orders: dict[str, list[Choice]], notes: Sequence[str] = ()
) -> JudgeFigures:
    """What both orders of all pairs come to; ``notes`` stand beside what is to be said of it."""
    counts = dict.fromkeys(("wins", "decided", "ties", "flips", "same", "unreadable", "longer", "compared"), 0)
    agreed = voted = tied_votes = first = shown = missing = 0
    lengths: list[tuple[int, int, bool]] = []
    for pair in pairs:
        if pair.base.strip() == pair.tuned.strip():
            counts["same"] += pair.scored
            continue
        said = orders.get(pair.key)
        if said is None:
            missing += 1
            continue
        first += sum(one == side for one, side in zip(said, ("base", "tuned"), strict=True))
        shown += sum(one in ("base", "tuned") for one in said)
        choice = said[0] if said[0] == said[1] and said[0] in ("base", "tuned") else "tie"
        for vote in pair.votes:
            if choice == "tie":
                tied_votes += 1
            else:
                voted += 1
                agreed += vote == choice
        if choice == "tie":
            counts["ties"] += pair.scored
            counts["flips"] += pair.scored and set(said) == {"base", "tuned"}
            counts["unreadable"] += sum(one == "unreadable" for one in said) * pair.scored
            continue
        counts["decided"] += pair.scored
        counts["wins"] += pair.scored and choice == "tuned"
        lengths.append((pair.base_tokens, pair.tuned_tokens, choice == "tuned"))
        if pair.base_tokens != pair.tuned_tokens:
            counts["compared"] += 1
            counts["longer"] += (choice == "tuned") == (pair.tuned_tokens > pair.base_tokens)
    unanswered = [f"{missing} pairs have no verdict: it did not answer"] if missing else []
    return JudgeFigures(
        judge=name, pairs=sum(pair.scored for pair in pairs), equal=equal_length(lengths), agreed=agreed, voted=voted,
        tied_votes=tied_votes, first=first, orders=shown, notes=[*unanswered, *notes], **counts,
    )  # fmt: skip


def kept_lines(scoring: Scoring) -> list[str]:
    """What a judge said of a scoring, in words; none where none was asked."""
    try:
        lines = json.loads((scoring.path / FILE).read_text("utf-8"))["lines"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _key(question: str, base: str, tuned: str) -> str:
    return hashlib.sha256("\0".join((question, base, tuned)).encode("utf-8", "surrogatepass")).hexdigest()[:24]
