"""What one server lets people ask of its models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.stream import Stream


@dataclass(frozen=True)
class Limits:
    """Caps on questions (characters), answers (tokens) and requests. ``waiting_requests`` counts those being answered
    too; ``asks_per_address`` those of one network address at the same time, None for any number. A visitor's next
    request waits ``previous_seconds`` for the one before it: that its reader has gone is noticed only after a while."""

    question_characters: int = 20_000
    answer_tokens: int = 4096
    waiting_requests: int = 64
    asks_per_address: int | None = None
    previous_seconds: float = 5.0

    def check(self, stream: Stream) -> None:
        """Raise UserError if a request is larger than this server allows."""
        longest = max(prompt.size for prompt in stream.questions)
        if longest > self.question_characters:
            raise UserError(
                f"The question has {longest:,} characters; at most {self.question_characters:,} fit here: shorten it."
            )
        if stream.settings.max_new_tokens > self.answer_tokens:
            raise UserError(f"The token cap is at most {self.answer_tokens:,} here: lower it.")

    def check_text(self, text: str, what: str) -> None:
        """Raise UserError if a text that is to be read, which is called ``what``, is longer than a question may be."""
        if len(text) > self.question_characters:
            raise UserError(
                f"The {what} has {len(text):,} characters; at most {self.question_characters:,} fit here: shorten it."
            )

    def check_room(self, stream: Stream, running: Sequence[Stream]) -> None:
        """Raise UserError if too many requests run already, in all or from one address."""
        if len(running) >= self.waiting_requests:
            raise UserError(f"{len(running)} requests are ahead of you, and no more can wait: try again in a minute.")
        same = sum(bool(stream.address) and other.address == stream.address for other in running)
        if self.asks_per_address is not None and same >= self.asks_per_address:
            raise UserError(
                f"{same} requests from your network are being answered, and more wait for one of them: try again in a "
                "moment (yours, or those of others behind the same address)."
            )
