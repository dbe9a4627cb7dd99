"""What the Results tab shows and ``/results`` answers, as plain data: votes with their statistics, figures by probe,
and the comparisons of one adapter. Blind pairs that nobody has voted on are in none of it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from eval_prompts.tasks.probes import PROBES
from eval_prompts.votes.bradley_terry import bradley_terry
from eval_prompts.votes.names import PLAIN, contest_titles, find_contest, side_names, side_titles
from eval_prompts.votes.vote_statistics import summarise

if TYPE_CHECKING:
    from eval_prompts.votes.bradley_terry import Strength
    from eval_prompts.votes.store import Answered, Contest, Ratings, ShownPair, VotedPair

HISTORY = 20
MOST_PAIRS = 5000
LONGEST_TEXT = 4000
EMPTY = "No votes yet: ask, then press 1-4 to say which answer is better."
SIDES = ("base", "tuned")


def results(ratings: Ratings, adapter: str | None = None) -> dict[str, Any]:
    """The figures for programs, of one adapter by its title, name or fingerprint, or of the one asked last.

    ``sides`` says what to call both sides; ``votes`` counts outcomes, 'blind' and 'open' apart; ``statistics`` holds
    ``vote_statistics.summarise`` of 'all', 'blind' and 'open' votes; ``probes`` both sides' figures and votes by probe;
    ``adapters`` the titles of what there is: an adapter, or one against another. Raises UserError if the database
    cannot be read.
    """
    contests = ratings.contests()
    contest = find_contest(contests, adapter)
    votes, pairs = _of(ratings, contest)
    titles = contest_titles(contests)
    groups = {
        "all": votes,
        "blind": [voted for voted in votes if voted.vote.blind],
        "open": [voted for voted in votes if not voted.vote.blind],
    }
    statistics = {name: summarise(group) for name, group in groups.items()}
    return {
        "adapter": titles[contests.index(contest)] if contest else adapter or "",
        "adapters": titles,
        "sides": side_names(contest, side_titles(contests)),
        "comparisons": len(pairs),
        "votes": {name: statistics[name]["counts"] for name in ("blind", "open")},
        "statistics": statistics,
        "probes": [_probe(probe.id, probe.title, pairs, votes) for probe in PROBES],
    }


def _of(ratings: Ratings, contest: Contest | None) -> tuple[list[VotedPair], list[ShownPair]]:
    if contest is None:
        return [], []
    which = {"adapter": contest.tuned, "against": contest.base}
    return ratings.votes(**which), ratings.pairs(**which, limit=MOST_PAIRS)


def results_view(ratings: Ratings, adapter: str | None = None) -> dict[str, Any]:
    """The Results tab's data: ``results`` in words and lines. Raises UserError if the database cannot be read."""
    found = results(ratings, adapter)
    contests, everyone = ratings.contests(), ratings.votes()
    votes, pairs = _of(ratings, find_contest(contests, adapter))
    sides, statistics = found["sides"], found["statistics"]
    titles = side_titles(contests)
    counted = Counter((voted.pair.tuned.fingerprint, voted.pair.base.fingerprint) for voted in everyone)
    groups = {"all": "All votes", "blind": "Blind", "open": "Names shown"}
    return {
        "adapter": found["adapter"],
        "adapters": [
            {"name": name, "votes": counted[contest.tuned, contest.base]}
            for name, contest in zip(found["adapters"], contests, strict=False)
        ],
        "sides": sides,
        "empty": not pairs,
        "exportable": bool(everyone),
        "headline": headline(statistics["all"], sides),
        "groups": [{"name": groups[name], **_group(each, sides)} for name, each in statistics.items()],
        "notes": list(notes(statistics["all"], sides)),
        "strengths": [_strength(each, titles) for each in bradley_terry(everyone)],
        "probes": [_in_words(probe) for probe in found["probes"]],
        "history": [_past(pair, votes, sides) for pair in pairs[:HISTORY]],
        "more": f"The latest {HISTORY} of {found['comparisons']:,}." if found["comparisons"] > HISTORY else "",
    }


def headline(statistics: dict[str, Any], sides: dict[str, str] = PLAIN) -> str:
    """The one sentence that answers 'which is better, and how sure are we?'; ``sides`` are their names."""
    wins = statistics["tuned_wins"]
    if not statistics["counts"]["total"]:
        return EMPTY
    if not wins["of"]:
        return "Nobody has preferred a side yet: every vote is a tie or says that both are bad."
    if statistics["enough"]:
        better = sides["tuned" if wins["rate"] > 0.5 else "base"]
        return f"People prefer {better}: {sides['tuned']} wins {share(wins)} ({test(wins)})."
    return f"Not enough votes to tell: {sides['tuned']} wins {share(wins)} ({test(wins)})."


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


def notes(statistics: dict[str, Any], sides: dict[str, str] = PLAIN) -> Iterable[str]:
    """What one should know beside the win rate, in sentences: lengths, position, agreement."""
    lengths, position, agreement = statistics["lengths"], statistics["position"], statistics["agreement"]
    middle, longer = lengths["median_tokens"], lengths["longer_wins"]
    if middle["base"] is not None:
        won = (
            f"; preferred answers {middle['preferred']:.0f}, the others {middle['other']:.0f}"
            if middle["preferred"] is not None
            else ""
        )
        times = f"; the longer answer was preferred {longer['wins']} of {longer['of']} times" if longer["of"] else ""
        yield (
            f"Length: {sides['base']} {middle['base']:.0f} tokens, {sides['tuned']} {middle['tuned']:.0f}{won} "
            f"(medians){times}. Raters tend to favour length."
        )
    if position["of"]:
        yield (
            f"Position: the left answer won {position['wins']} of {position['of']} times "
            f"({position['low']:.0%} to {position['high']:.0%}); 50% is unbiased."
        )
    if agreement["of"]:
        yield (
            f"People and machine: where one answer alone does its task, people preferred that one "
            f"{agreement['wins']} of {agreement['of']} times{_beyond_chance(agreement['kappa'])}."
        )


def _beyond_chance(kappa: float | None) -> str:
    return "" if kappa is None else f" (Cohen's kappa {kappa:.2f}: 1 is full agreement, 0 that of chance)"


def _group(statistics: dict[str, Any], sides: dict[str, str]) -> dict[str, Any]:
    wins = statistics["tuned_wins"]
    words = f"{sides['tuned']} wins {share(wins)} ({chance(wins)})" if wins["of"] else "no side preferred yet"
    interval = {key: wins[key] for key in ("rate", "low", "high")}
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
    state = {"ended": "ended by itself", "capped": "hit the cap", "cancelled": "stopped"}.get(side.state, side.state)
    words = [f"{side.tokens} tokens", state, *([task] if task else [])]
    return {"label": side.label, "words": " · ".join(words), "text": side.text[:LONGEST_TEXT]}
