"""What the Results tab shows and ``/results`` answers, as plain data: votes with their statistics, figures by probe,
and the comparisons of one adapter. Blind pairs that nobody has voted on are in none of it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from eval_prompts.answers import ending_words
from eval_prompts.tasks.probes import PROBES
from eval_prompts.votes.bradley_terry import bradley_terry
from eval_prompts.votes.names import contest_titles, find_contest, side_names, side_titles
from eval_prompts.votes.vote_statistics import by_kind, once_each, summarise
from eval_prompts.votes.words import chance, headline, notes, of_whom, share

if TYPE_CHECKING:
    from eval_prompts.votes.bradley_terry import Strength
    from eval_prompts.votes.records import Answered, Contest, ShownPair, VotedPair
    from eval_prompts.votes.store import Ratings

HISTORY = 20
MOST_PAIRS = 5000
LONGEST_TEXT = 4000
SIDES = ("base", "tuned")


@dataclass(frozen=True)
class Read:
    """What the database says of one contest and of all, read once."""

    contests: list[Contest]
    contest: Contest | None
    everyone: list[VotedPair]
    votes: list[VotedPair]
    pairs: list[ShownPair]
    whole: Sequence[VotedPair] = ()
    """Votes on whole conversations."""


def read(ratings: Ratings, adapter: str | None) -> Read:
    """One adapter's votes and pairs (by its title, name or fingerprint, or of the one asked last), and all votes.
    Raises UserError if the database cannot be read."""
    contests, everyone = ratings.contests(), ratings.votes()
    contest = find_contest(contests, adapter)
    if contest is None:
        return Read(contests, None, everyone, [], [])
    sides = contest.tuned, contest.base
    votes = [voted for voted in everyone if (voted.pair.tuned.fingerprint, voted.pair.base.fingerprint) == sides]
    pairs = ratings.pairs(adapter=contest.tuned, against=contest.base, limit=MOST_PAIRS)
    whole = ratings.votes(adapter=contest.tuned, against=contest.base, whole=True)
    return Read(contests, contest, everyone, votes, pairs, whole)


def results(ratings: Ratings, adapter: str | None = None) -> dict[str, Any]:
    """The figures for programs, of one adapter by its title, name or fingerprint, or of the one asked last.

    ``sides`` says what to call both sides; ``votes`` counts outcomes, 'blind' and 'open' apart; ``statistics`` holds
    ``vote_statistics.summarise`` of 'all', 'blind' and 'open' votes; ``probes`` both sides' figures and votes by probe;
    ``adapters`` the titles of what there is: an adapter, or one against another. Raises UserError if the database
    cannot be read.
    """
    return figures(read(ratings, adapter), adapter)


def figures(data: Read, adapter: str | None = None) -> dict[str, Any]:
    """:func:`results` of what was read."""
    titles = contest_titles(data.contests)
    statistics = by_kind(data.votes)
    return {
        "adapter": titles[data.contests.index(data.contest)] if data.contest else adapter or "",
        "adapters": titles,
        "sides": side_names(data.contest, side_titles(data.contests)),
        "comparisons": len(data.pairs),
        "votes": {name: statistics[name]["counts"] for name in ("blind", "open")},
        "statistics": statistics,
        "conversations": summarise(data.whole)["counts"],
        "probes": [_probe(probe.id, probe.title, data.pairs, data.votes) for probe in PROBES],
    }


def results_view(ratings: Ratings, adapter: str | None = None, own: str | None = None) -> dict[str, Any]:
    """The Results tab's data: ``results`` in words and lines.

    With ``own``, an anonymous session, that visitor's own comparisons and comments alone are among it, with the sums of
    everyone's; None is the owner, who sees all. Raises UserError if the database cannot be read.
    """
    data = read(ratings, adapter)
    found = figures(data, adapter)
    sides, statistics = found["sides"], found["statistics"]
    titles = side_titles(data.contests)
    counted = Counter((voted.pair.tuned.fingerprint, voted.pair.base.fingerprint) for voted in data.everyone)
    groups = {"all": "All votes", "blind": "Blind", "open": "Names shown"}
    pairs, votes = (data.pairs, data.votes) if own is None else own_pairs(data, own)
    return {
        "adapter": found["adapter"],
        "adapters": [
            {"name": name, "votes": counted[contest.tuned, contest.base]}
            for name, contest in zip(found["adapters"], data.contests, strict=True)
        ],
        "sides": sides,
        "contest": [data.contest.tuned, data.contest.base] if data.contest else [],
        "empty": not data.pairs,
        "exportable": bool(data.everyone),
        "headline": headline(statistics, sides),
        "groups": [{"name": groups[name], **_group(each, sides)} for name, each in statistics.items()],
        "notes": [*notes(statistics["all"], sides), *_whole_words(data.whole, sides)],
        "strengths": [_strength(each, titles) for each in bradley_terry(blind_once(data.everyone))],
        "probes": [_in_words(probe) for probe in found["probes"]],
        "history_title": f"{'Comparisons' if own is None else 'Your comparisons'} with {found['adapter']}",
        "history": [_past(pair, votes, sides) for pair in pairs[:HISTORY]],
        "more": _more(len(pairs), own is None),
    }


def _whole_words(whole: Sequence[VotedPair], sides: dict[str, str]) -> list[str]:
    """What is said of whole conversations, which count in none of the figures; empty where nobody voted on one."""
    if not whole:
        return []
    counts = summarise(whole)["counts"]
    told = [f"{name} preferred {counts[side]}" for side, name in sides.items()]
    told += [f"ties {counts['tie']}", f"both bad {counts['both_bad']}"]
    many = f"{counts['total']} votes on whole conversations"
    one = "1 vote on a whole conversation" if counts["total"] == 1 else many
    return [f"{one}: {', '.join(told)}. They are told apart: the figures above are of single turns."]


def blind_once(votes: Sequence[VotedPair]) -> list[VotedPair]:
    """The blind votes, those of one person on the same answers once."""
    return once_each(voted for voted in votes if voted.vote.blind)


def own_pairs(data: Read, session: str) -> tuple[list[ShownPair], list[VotedPair]]:
    """The pairs that a visitor has asked for and may know, or voted on, newest first, and that visitor's votes."""
    votes = [voted for voted in data.votes if voted.vote.session == session]
    pairs = {voted.pair.id: voted.pair for voted in votes}
    pairs |= {pair.id: pair for pair in data.pairs if pair.session == session}
    return sorted(pairs.values(), key=lambda pair: -pair.created), votes


def _more(count: int, everyones: bool) -> str:
    if count <= HISTORY:
        return "" if everyones else "What others asked and said is for the owner of this app alone."
    of = f"{count:,}" if count < MOST_PAIRS else f"{count:,} or more"
    return f"The latest {HISTORY} of {of}."


def _group(statistics: dict[str, Any], sides: dict[str, str]) -> dict[str, Any]:
    wins, found = statistics["tuned_wins"], statistics["evidence"]
    words = "no side preferred yet"
    if wins["of"]:
        words = f"{sides['tuned']} wins {share(wins)} ({of_whom(statistics)}; {chance(found)})"
    claim = found["claims"][found["main"]]
    interval = {"rate": wins["rate"], "low": claim["low"], "high": claim["high"]}
    return {"counts": statistics["counts"], "words": words if statistics["counts"]["total"] else "", **interval}


def _strength(found: Strength, titles: dict[str, str]) -> dict[str, Any]:
    """A Bradley-Terry strength as the chance of being preferred to the reference."""
    rate, low, high = (1 / (1 + math.exp(-value)) for value in (found.strength, found.low, found.high))
    reference = titles.get(found.reference, "base")
    interval = f"95% interval {low:.0%} to {high:.0%}"
    words = f"beats {reference} {rate:.0%} of the time ({interval}, {found.votes} decided votes)"
    name = titles.get(found.fingerprint, found.fingerprint)
    return {"name": name, "reference": reference, "rate": rate, "low": low, "high": high, "words": words}


def _probe(ident: str, title: str, pairs: Sequence[ShownPair], votes: Sequence[VotedPair]) -> dict[str, Any]:
    asked = [pair for pair in pairs if pair.probe == ident]
    told = {side: _figures([getattr(pair, side) for pair in asked]) for side in SIDES}
    counts = summarise([voted for voted in votes if voted.pair.probe == ident])["counts"]
    return {"probe": ident, "title": title, "comparisons": len(asked), **told, "counts": counts}


def _figures(sides: Sequence[Answered]) -> dict[str, Any]:
    """One side's figures over its complete answers; ``tokens`` is their median. An answer whose code could not be run
    is no judged one."""
    complete = [side for side in sides if side.state in ("ended", "capped")]
    tasks = Counter(side.verdict.get("task") for side in complete if side.verdict)
    return {
        "answers": len(complete),
        "judged": tasks["passes"] + tasks["fails"],
        "passes": tasks["passes"],
        "not_run": tasks["not run"],
        "ended": sum(side.state == "ended" for side in complete),
        "tokens": median(side.tokens for side in complete) if complete else None,
    }


def _in_words(probe: dict[str, Any]) -> dict[str, Any]:
    told = {
        side: {
            "tasks": _tasks(probe[side]),
            "ended": f"{probe[side]['ended']} of {probe[side]['answers']}" if probe[side]["answers"] else "",
            "tokens": "" if probe[side]["tokens"] is None else f"{probe[side]['tokens']:.0f}",
        }
        for side in SIDES
    }
    return {"title": probe["title"], "counts": probe["counts"], **told}


def _tasks(figures: dict[str, Any]) -> str:
    """'1 of 2, 3 not run'."""
    told = f"{figures['passes']} of {figures['judged']}" if figures["judged"] else ""
    return ", ".join(filter(None, [told, f"{figures['not_run']} not run" if figures["not_run"] else ""]))


def _past(pair: ShownPair, votes: Sequence[VotedPair], sides: dict[str, str]) -> dict[str, Any]:
    said = [voted.vote.outcome for voted in votes if voted.pair.id == pair.id]
    reasons = [word for voted in votes if voted.pair.id == pair.id for word in (voted.vote.comment,) if word]
    preferred = {side: f"{name} preferred" for side, name in sides.items()} | {"tie": "tie", "both_bad": "both bad"}
    words = preferred[said[0]] if len(said) == 1 else f"{len(said)} votes" if said else "no vote"
    cap = pair.settings.get("max_new_tokens")
    about = ["blind" if pair.blind else "names shown", f"{sides[pair.left]} stood left"]
    about += [f"at most {cap} tokens"] if cap else []
    about += [f"comment: {' / '.join(reasons)}"] if reasons else []
    return {
        "question": pair.question[:LONGEST_TEXT],
        "outcome": said[0] if len(said) == 1 else "",
        "outcome_words": words,
        "when": time.strftime("%d %b %H:%M", time.localtime(pair.created)),
        "about": " · ".join(about),
        **{side: _told(getattr(pair, side)) for side in SIDES},
    }


def _told(side: Answered) -> dict[str, Any]:
    task = {"passes": "✓ does the task", "fails": "✗ fails the task"}.get((side.verdict or {}).get("task", ""), "")
    state = ending_words(side.state, "the cap", "stopped")
    words = [f"{side.tokens} tokens", state, *([task] if task else [])]
    return {"label": side.label, "words": " · ".join(words), "text": side.text[:LONGEST_TEXT]}
