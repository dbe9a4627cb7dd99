"""Votes put back from files that were exported whole, or from the data set that mirrors them on the Hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts.votes.formats import FORMATS
from eval_prompts.votes.whole import read_whole
from tuning.errors import UserError
from tuning.files import first_line, is_hub_name

if TYPE_CHECKING:
    from eval_prompts.votes.records import VotedPair
    from eval_prompts.votes.store import Ratings

MIRRORED = "votes/*.jsonl"


@dataclass(frozen=True)
class Restored:
    """How many votes of an import were new, how many were newer than the ones kept, and how many were known."""

    new: int
    newer: int
    known: int

    @property
    def words(self) -> str:
        """'12 votes are new, 1 is newer than the one kept, 3 were known already'."""
        return (
            f"{self.new} vote{' is' if self.new == 1 else 's are'} new, {self.newer} newer than the one kept, "
            f"{self.known} known already"
        )


def restore(ratings: Ratings, source: str) -> Restored:
    """Put the votes of a file (.csv, .jsonl, .parquet) or of a mirror on the Hub (OWNER/NAME) into the database.

    A vote that is there already is not doubled; of two of one person on one pair the later one stays. All or nothing is
    taken in. Raises UserError, naming file and row, for what holds no whole votes.
    """
    path = Path(source).expanduser()
    if path.exists() or not is_hub_name(source):
        return merge(ratings, read_file(path))
    votes: list[VotedPair] = []
    for file in mirrored(source):
        votes += read_file(file)
    return merge(ratings, votes)


def read_file(path: Path) -> list[VotedPair]:
    """The votes of one file. Raises UserError for one that cannot be read."""
    form = path.suffix[1:].lower()
    if form not in FORMATS:
        raise UserError(f"The name {path.name} does not end in {', '.join('.' + one for one in FORMATS)}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        return read_whole(content, form)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from error


def mirrored(repo_id: str) -> list[Path]:
    """The files of a mirror, fetched from the Hub. Raises UserError if it cannot be had or holds none."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = snapshot_download(repo_id, repo_type="dataset", allow_patterns=MIRRORED)
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise UserError(
            f"The data set {repo_id} is not available ({first_line(error)}): check its name and HF_TOKEN."
        ) from error
    files = sorted(Path(folder).glob(MIRRORED))
    if not files:
        raise UserError(f"The data set {repo_id} holds no votes ({MIRRORED}).")
    return files


def merge(ratings: Ratings, votes: Iterable[VotedPair]) -> Restored:
    """Put votes into the database, each once; the later one of two stays."""
    latest: dict[tuple[str, str], VotedPair] = {}
    given = 0
    for voted in votes:
        given += 1
        key = voted.pair.id, voted.vote.session
        if key not in latest or voted.vote.changed > latest[key].vote.changed:
            latest[key] = voted
    new, newer = ratings.put_back(list(latest.values()))
    return Restored(new, newer, given - new - newer)
