"""What the Results tab shows and ``/results`` answers, as plain data: votes with their statistics, figures by probe,
and the comparisons of one adapter. Blind pairs that nobody has voted on are in none of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from eval_prompts.probes import PROBES
from eval_prompts.strengths import bradley_terry
from eval_prompts.vote_statistics import summarise

if TYPE_CHECKING:
    from eval_prompts.ratings import Answered, Ratings, ShownPair, VotedPair

HISTORY = 20
MOST_PAIRS = 5000
LONGEST_TEXT = 4000
EMPTY = "No votes yet: ask, then press 1-4 to say which answer is better."
OUTCOME_WORDS = {"base": "base preferred", "tuned": "tuned preferred", "tie": "tie", "both_bad": "both bad"}
SIDES = ("base", "tuned")


def results(ratings: Ratings, adapter: str | None = None) -> dict[str, Any]:
    """The figures for programs, of one adapter or of the one asked last.

    ``votes`` counts outcomes, 'blind' and 'open' apart; ``statistics`` holds ``vote_statistics.summarise`` of 'all',
    'blind' and 'open' votes; ``probes`` both sides' figures and votes by probe; ``adapters`` names what there is.
    Raises UserError if the database cannot be read.
    """
    adapters = ratings.adapters()
    chosen = adapter if adapter is not None else next(iter(adapters), "")
    votes = ratings.votes(adapter=chosen)
    groups = {
        "all": votes,
        "blind": [voted for voted in votes if voted.vote.blind],
        "open": [voted for voted in votes if not voted.vote.blind],
    }
    statistics = {name: summarise(group) for name, group in groups.items()}
    pairs = ratings.pairs(adapter=chosen, limit=MOST_PAIRS)
    return {
        "adapter": chosen,
        "adapters": adapters,
        "comparisons": len(pairs),
        "votes": {name: statistics[name]["counts"] for name in ("blind", "open")},
        "statistics": statistics,
        "probes": [_probe(probe.id, probe.title, pairs, votes) for probe in PROBES],
    }


def results_view(ratings: Ratings, adapter: str | None = None) -> dict[str, Any]:
    """The Results tab's data: ``results`` in words and lines. Raises UserError if the database cannot be read."""
    found = results(ratings, adapter)
    everyone = ratings.votes()
    strengths = bradley_terry(everyone)
    votes = [voted for voted in everyone if voted.pair.tuned.label == found["adapter"]]
    pairs = ratings.pairs(adapter=found["adapter"], limit=HISTORY)
    statistics = found["statistics"]
    counted = {name: sum(voted.pair.tuned.label == name for voted in everyone) for name in found["adapters"]}
    names = {"all": "All votes", "blind": "Blind", "open": "Names shown"}
    return {
        "adapter": found["adapter"],
        "adapters": [{"name": name, "votes": counted[name]} for name in found["adapters"]],
        "empty": not pairs,
        "exportable": bool(everyone),
        "headline": headline(statistics["all"]),
        "groups": [{"name": names[name], **_group(each)} for name, each in statistics.items()],
        "notes": list(notes(statistics["all"])),
        "strengths": [_strength(each) for each in strengths],
        "probes": [_in_words(probe) for probe in found["probes"]],
        "history": [_past(pair, votes) for pair in pairs],
        "more": f"The latest {HISTORY} of {found['comparisons']:,}." if found["comparisons"] > HISTORY else "",
    }


def headline(statistics: dict[str, Any]) -> str:
    """The one sentence that answers 'which is better, and how sure are we?'."""
    wins = statistics["tuned_wins"]
    if not statistics["counts"]["total"]:
        return EMPTY
    if not wins["of"]:
        return "Nobody has preferred a side yet: every vote is a tie or says that both are bad."
    if statistics["enough"]:
        better = "tuned" if wins["rate"] > 0.5 else "base"
        return f"People prefer {better}: tuned wins {share(wins)} ({test(wins)})."
    return f"Not enough votes to tell: tuned wins {share(wins)} ({test(wins)})."


def share(found: dict[str, Any]) -> str:
    """'9 of 12 decided votes, 75%'."""
    votes = "decided vote" if found["of"] == 1 else "decided votes"
    return f"{found['wins']} of {found['of']} {votes}, {found['rate']:.0%}"


def chance(found: dict[str, Any]) -> str:
    """Interval and test in words."""
    return f"95% interval {found['low']:.0%} to {found['high']:.0%}, sign test {test(found)}"


def test(found: dict[str, Any]) -> str:
    """The exact sign test in words."""
    return f"p = {found['p_value']:.2g}" if found["p_value"] >= 0.001 else "p < 0.001"


def notes(statistics: dict[str, Any]) -> Iterable[str]:
    """What one should know beside the win rate, in sentences: lengths, position, agreement."""
    lengths, position, agreement = statistics["lengths"], statistics["position"], statistics["agreement"]
    middle, longer = lengths["median_tokens"], lengths["longer_wins"]
    if middle["base"] is not None:
        preferred = (
            f"; the longer answer was preferred {longer['wins']} of {longer['of']} times" if longer["of"] else ""
        )
        yield (
            f"Length: base {middle['base']:.0f} tokens, tuned {middle['tuned']:.0f} (medians){preferred}. Raters tend "
            "to favour length."
        )
    if position["of"]:
        yield (
            f"Position: the left answer won {position['wins']} of {position['of']} times "
            f"({position['low']:.0%} to {position['high']:.0%}); 50% is unbiased."
        )
    if agreement["of"]:
        yield (
            f"People and machine: where one answer alone does its task, people preferred that one "
            f"{agreement['wins']} of {agreement['of']} times."
        )


def _group(statistics: dict[str, Any]) -> dict[str, Any]:
    wins = statistics["tuned_wins"]
    words = f"tuned wins {share(wins)} ({chance(wins)})" if wins["of"] else "no side preferred yet"
    interval = {key: wins[key] for key in ("rate", "low", "high")}
    return {"counts": statistics["counts"], "words": words if statistics["counts"]["total"] else "", **interval}


def _strength(found: dict[str, Any]) -> dict[str, Any]:
    """A Bradley-Terry strength as the chance of beating the base model."""
    rate, low, high = (1 / (1 + math.exp(-found[key])) for key in ("strength", "low", "high"))
    words = f"beats base {rate:.0%} of the time (95% interval {low:.0%} to {high:.0%}, {found['votes']} decided votes)"
    return {"name": found["name"], "rate": rate, "low": low, "high": high, "words": words}


def _probe(ident: str, title: str, pairs: Sequence[ShownPair], votes: Sequence[VotedPair]) -> dict[str, Any]:
    asked = [pair for pair in pairs if pair.probe == ident]
    told = {side: _figures([getattr(pair, side) for pair in asked]) for side in SIDES}
    counts = summarise([voted for voted in votes if voted.pair.probe == ident])["counts"]
    return {"probe": ident, "title": title, "comparisons": len(asked), **told, "counts": counts}


def _figures(sides: Sequence[Answered]) -> dict[str, Any]:
    """One side's figures over its complete answers; ``tokens`` is their median."""
    complete = [side for side in sides if side.state in ("ended", "capped")]
    judged = [side.verdict for side in complete if side.verdict]
    return {
        "answers": len(complete),
        "judged": len(judged),
        "passes": sum(verdict.get("task") == "passes" for verdict in judged),
        "ended": sum(side.state == "ended" for side in complete),
        "tokens": median(side.tokens for side in complete) if complete else None,
    }


def _in_words(probe: dict[str, Any]) -> dict[str, Any]:
    told = {
        side: {
            "tasks": f"{probe[side]['passes']} of {probe[side]['judged']}" if probe[side]["judged"] else "",
            "ended": f"{probe[side]['ended']} of {probe[side]['answers']}" if probe[side]["answers"] else "",
            "tokens": "" if probe[side]["tokens"] is None else f"{probe[side]['tokens']:.0f}",
        }
        for side in SIDES
    }
    return {"title": probe["title"], "counts": probe["counts"], **told}


def _past(pair: ShownPair, votes: Sequence[VotedPair]) -> dict[str, Any]:
    said = [voted.vote.outcome for voted in votes if voted.pair.id == pair.id]
    reasons = [word for voted in votes if voted.pair.id == pair.id for word in (voted.vote.comment,) if word]
    words = OUTCOME_WORDS[said[0]] if len(said) == 1 else f"{len(said)} votes" if said else "no vote"
    cap = pair.settings.get("max_new_tokens")
    about = ["blind" if pair.blind else "names shown", f"{pair.left} stood left"]
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
    state = {"ended": "ended by itself", "capped": "hit the cap", "cancelled": "stopped"}.get(side.state, side.state)
    words = [f"{side.tokens} tokens", state, *([task] if task else [])]
    return {"label": side.label, "words": " · ".join(words), "text": side.text[:LONGEST_TEXT]}
