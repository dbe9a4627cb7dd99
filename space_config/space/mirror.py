"""Votes copied to a private data set on the Hub, for Spaces whose disk forgets.

Each process writes one file of its own, named by its start, and replaces it whole: two replicas, or a process after a
restart, never overwrite one another's votes.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

EVERY_SECONDS = 300.0


class Mirror:
    """Uploads the votes now and then, if they have changed, from a thread. A Hub that is away is only logged."""

    def __init__(
        self, repo_id: str, votes: Callable[[], bytes], api: HfApi, every_seconds: float = EVERY_SECONDS
    ) -> None:
        """``votes`` gives all votes of this process's database as JSON lines; it may raise whatever it likes."""
        self._repo_id, self._votes, self._api, self._every = repo_id, votes, api, every_seconds
        self._name = f"votes/{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}.jsonl"
        self._sent: bytes | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        """Begin. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Upload what is new, and end."""
        self._ending.set()
        self._thread.join(timeout=30)

    def copy(self) -> bool:
        """Upload the votes if they have changed since the last time; True if something was sent."""
        content = self._votes()
        if content == self._sent or not content:
            return False
        if self._sent is None:
            self._api.create_repo(self._repo_id, repo_type="dataset", private=True, exist_ok=True)
        self._api.upload_file(
            path_or_fileobj=content,
            path_in_repo=self._name,
            repo_id=self._repo_id,
            repo_type="dataset",
            commit_message="Votes",
        )
        self._sent = content
        return True

    def _run(self) -> None:
        while True:
            ended = self._ending.wait(self._every)
            try:
                self.copy()
            except Exception:
                log.exception("The votes were not mirrored: the next try is in %.0f s", self._every)
            if ended:
                return


def begin_mirror(repo_id: str, votes: Callable[[], bytes]) -> Mirror | None:
    """Begin to copy votes to a private data set on the Hub, with the token of the environment; None without a name."""
    if not repo_id:
        return None
    from huggingface_hub import HfApi

    mirror = Mirror(repo_id, votes, HfApi())
    mirror.start()
    return mirror
