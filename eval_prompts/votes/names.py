"""What the sides of the contests are called, so that two adapters of one name are told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval_prompts.votes.records import Contest

SHORT = 7
PLAIN = {"base": "base", "tuned": "tuned"}


def side_titles(contests: Iterable[Contest]) -> dict[str, str]:
    """A title for each side, by fingerprint: its latest name, and the start of its fingerprint too where others have
    that name. ``contests`` come with the latest first."""
    labels: dict[str, str] = {}
    for contest in contests:
        labels.setdefault(contest.tuned, contest.label)
        labels.setdefault(contest.base, contest.base_label)
    sharing = Counter(labels.values())
    own = Counter((label, fingerprint.rpartition("+")[2][:SHORT]) for fingerprint, label in labels.items())

    def title(fingerprint: str, label: str) -> str:
        if sharing[label] == 1:
            return label
        short = fingerprint.rpartition("+")[2][:SHORT]
        if own[label, short] > 1:
            short = "+".join(part[:SHORT] for part in fingerprint.split("+"))
        return f"{label} ({short})"

    return {fingerprint: title(fingerprint, label) for fingerprint, label in labels.items()}


def contest_titles(contests: Sequence[Contest]) -> list[str]:
    """A title for each contest: the adapter's, and where it met another adapter, that one's too."""
    titles = side_titles(contests)
    return [
        f"{titles[contest.tuned]} against {titles[contest.base]}" if contest.two_adapters else titles[contest.tuned]
        for contest in contests
    ]


def find_contest(contests: Sequence[Contest], asked: str | None) -> Contest | None:
    """The contest of a title, else the latest of an adapter of that name or fingerprint; the latest of all for None."""
    if asked is None:
        return next(iter(contests), None)
    for names in (contest_titles(contests), [each.label for each in contests], [each.tuned for each in contests]):
        if asked in names:
            return contests[names.index(asked)]
    return None


def side_names(contest: Contest | None, titles: dict[str, str]) -> dict[str, str]:
    """What to call both sides: 'base' and 'tuned', or the two adapters by their names."""
    if contest is None or not contest.two_adapters:
        return PLAIN
    return {"base": titles[contest.base], "tuned": titles[contest.tuned]}
