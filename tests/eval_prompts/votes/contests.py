"""Contests that are fair, and what is claimed of them: ``python -m tests.eval_prompts.votes.contests`` prints the table
of docs/votes.md.

Each contest is looked at after every vote; a claim that is made at any look counts.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter

from eval_prompts.votes.evidence import Evidence, Scope

CONTESTS = 2000
LOOKS = 120


def false_claims(contest, contests=CONTESTS):
    """The share of fair contests in which each claim is made at any of the looks, one after every vote."""
    made = Counter()
    for seed in range(contests):
        evidence, claimed = Evidence(), set()
        for person, question, won in contest(random.Random(seed)):
            evidence.add(person, question, won)
            claimed |= {scope for scope in Scope if evidence.sequences[scope].better}
        made.update(claimed)
    return {scope: made[scope] / contests for scope in Scope}


def independent(chance):
    for vote in range(LOOKS):
        yield f"p{vote}", f"q{vote}", chance.random() < 0.5


def voters_of_one_mind(chance):
    """Each person casts ten votes, nearly all for one side, which one is fair."""
    for vote in range(LOOKS):
        if vote % 10 == 0:
            bias = chance.betavariate(0.2, 0.2)
        yield f"p{vote // 10}", f"q{vote}", chance.random() < bias


def questions_with_a_clear_winner(chance):
    """On each question nearly everybody prefers the same answer, which one is fair."""
    bias = [chance.betavariate(0.2, 0.2) for _ in range(30)]
    for vote in range(LOOKS):
        question = chance.randrange(30)
        yield f"p{vote}", f"q{question}", chance.random() < bias[question]


def both(chance):
    people = [chance.gauss(0, 2) for _ in range(40)]
    questions = [chance.gauss(0, 2) for _ in range(40)]
    for _ in range(LOOKS):
        person, question = chance.randrange(40), chance.randrange(40)
        rate = 1 / (1 + math.exp(-people[person] - questions[question]))
        yield f"p{person}", f"q{question}", chance.random() < rate


def a_class(chance):
    """Each of some pupils votes on the same five questions."""
    for vote in range(LOOKS):
        yield f"p{vote // 5}", f"q{vote % 5}", chance.random() < 0.5


CONTEST_KINDS = {
    independent: ("each vote another person's on another question", tuple(Scope)),
    a_class: ("24 people on the same five questions", tuple(Scope)),
    voters_of_one_mind: ("ten votes of each person, nearly all for one side", (Scope.EVERYONE, Scope.PEOPLE)),
    questions_with_a_clear_winner: (
        "30 questions, on each of which nearly all prefer one side",
        (Scope.EVERYONE, Scope.QUESTIONS),
    ),
    both: ("40 people and 40 questions, each with a leaning", (Scope.EVERYONE,)),
}
"""Each kind in words, and the claims that its way of clustering leaves valid."""


def naive_false_claims(contest, contests=CONTESTS):
    """The share of fair contests in which a sign test at 5% finds a winner at any of the looks."""
    from scipy.stats import binom

    lowest = [max((wins for wins in range(votes) if 2 * binom.cdf(wins, votes, 0.5) < 0.05), default=-1)
              for votes in range(LOOKS + 1)]  # fmt: skip
    false = 0
    for seed in range(contests):
        wins = 0
        for vote, (_, _, won) in enumerate(contest(random.Random(seed)), 1):
            wins += won
            if min(wins, vote - wins) <= lowest[vote]:
                false += 1
                break
    return false / contests


def votes_needed(rate, contests=400):
    """How many votes of other people on other questions each claim took, where one side wins at ``rate``."""
    needed = []
    for seed in range(contests):
        chance, evidence, votes = random.Random(seed), Evidence(), 0
        while evidence.claim is None:
            evidence.add(f"p{votes}", f"q{votes}", chance.random() < rate)
            votes += 1
        needed.append(votes)
        assert evidence.claim[0] is Scope.EVERYONE
    return needed


def main():
    """Print both tables."""
    print(f"| fair contest of {LOOKS} votes | {' | '.join(scope.value for scope in Scope)} | sign test |")
    print("| --- " * (len(Scope) + 2) + "|")
    for contest, (words, valid) in CONTEST_KINDS.items():
        found = false_claims(contest)
        shares = [f"{found[scope]:.1%}" if scope in valid else "not claimed of" for scope in Scope]
        print(f"| {words} | {' | '.join(shares)} | {naive_false_claims(contest):.1%} |")
    print("\n| one side wins | votes needed, median | nine of ten contests within |\n| --- | --- | --- |")
    for rate in (0.9, 0.8, 0.7, 0.6):
        needed = sorted(votes_needed(rate))
        print(f"| {rate:.0%} | {statistics.median(needed):.0f} | {needed[int(0.9 * len(needed))]} |")


if __name__ == "__main__":
    main()
