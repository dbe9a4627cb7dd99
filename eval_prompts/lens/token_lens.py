"""The token lens: one text behind one question, as both models of a pair see every token of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.token_scores import SideScore, TokenScore, room, score
from tuning.data.chat import PYTHON_FORMAT, Message, PromptFormat, check_question
from tuning.data.template import chat_template
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from eval_prompts.models.pair import Pair, Side

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Figures:
    """What all tokens of a text add up to. ``kl`` is KL(base || tuned) in nats a token; ``same_top`` the share of
    places at which both models' first choice is the same; perplexity is exp of the mean negative log-probability."""

    tokens: int
    logprob_base: float
    logprob_tuned: float
    perplexity_base: float
    perplexity_tuned: float
    mean_kl: float
    kl_percentiles: dict[str, float]
    same_top: float

    @property
    def change_per_token(self) -> float:
        """Mean of log p(tuned) - log p(base)."""
        return (self.logprob_tuned - self.logprob_base) / self.tokens


@dataclass(frozen=True)
class Reading:
    """A text as both models see it. ``pieces`` are the characters of its tokens: joined they are the text, and its
    ending where that is scored. ``notes`` say what was cut or approximated."""

    scores: list[TokenScore]
    pieces: list[str]
    choices: dict[int, str]
    prompt_tokens: int
    notes: list[str] = field(default_factory=list)

    @property
    def figures(self) -> Figures:
        """The text's figures."""
        return figures(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: figures, notes, and every token with its characters and what each model thought of it."""
        totals = self.figures
        return {
            "prompt_tokens": self.prompt_tokens,
            "figures": totals.__dict__ | {"change_per_token": totals.change_per_token},
            "notes": self.notes,
            "tokens": [
                {
                    "text": piece,
                    "id": entry.token,
                    "change": entry.change,
                    "same_top": entry.same_top,
                    "kl_base_tuned": entry.kl_base_tuned,
                    "kl_tuned_base": entry.kl_tuned_base,
                    "base": self._side(entry.base),
                    "tuned": self._side(entry.tuned),
                }
                for piece, entry in zip(self.pieces, self.scores, strict=True)
            ],
        }

    def _side(self, side: SideScore) -> dict[str, Any]:
        top = [[self.choices[token], odds] for token, odds in side.top]
        return {"logprob": side.logprob, "rank": side.rank, "entropy": side.entropy, "top": top}


def read(
    pair: Pair,
    question: str | Sequence[Message],
    text: str,
    *,
    ended: bool = False,
    prompt_format: PromptFormat = PYTHON_FORMAT,
) -> Reading:
    """Score ``text`` as the answer to a question (put into ``prompt_format``), or to a conversation.

    With ``ended`` the token that closes an answer is scored, too. Control tokens that stand in the text stay text. A
    text longer than the context is cut, and the reading says so. Raises UserError for a text without a character, a
    prompt that fills the context, a pair without a tuned side, or sides with different tokenizers.
    """
    if not text:
        raise UserError("There is no text to score: give one.")
    if isinstance(question, str):
        messages: Sequence[Message] = prompt_format.messages({"question": check_question(question), "input": ""})
    else:
        messages = question
    base, tuned = pair.model("base"), pair.model("tuned")
    prompt_ids, text_ids = encoded(pair, "base", messages, text, ended)
    if (prompt_ids, text_ids) != encoded(pair, "tuned", messages, text, ended):
        raise UserError(
            "The two sides read this text as different tokens, because the tuned side has its own tokenizer or chat "
            "template: it cannot be compared token by token."
        )
    notes = []
    free = min(room(model, len(prompt_ids)) for model in (base, tuned))
    if free < 1:
        raise UserError(f"The prompt of {len(prompt_ids):,} tokens fills the context: shorten the question.")
    if len(text_ids) > free:
        notes.append(
            f"The text has {len(text_ids):,} tokens; the first {free:,}, which fit into the context, are scored."
        )
        text_ids = text_ids[:free]
    if pair.device.name == "cpu":
        notes.append("Scored in fp32, whatever precision answers are computed in.")
    scores = score(base, tuned, prompt_ids, text_ids)
    tokenizer = pair.tokenizers["base"]
    tokens = {token for entry in scores for side in (entry.base, entry.tuned) for token, _ in side.top}
    choices = {token: tokenizer.decode([token]) for token in tokens}
    return Reading(scores, pieces_of(tokenizer, text_ids), choices, len(prompt_ids), notes)


def encoded(pair: Pair, side: Side, messages: Sequence[Message], text: str, ended: bool) -> tuple[list[int], list[int]]:
    """The tokens of prompt and text as one side reads them."""
    template = chat_template(pair.tokenizers[side])
    text_ids = template.encode_answer(text)
    if ended:
        text_ids = [*text_ids, *template.closing_ids[:1]]
    return template.encode(messages), text_ids


def pieces_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The characters that each token adds; a character made of several tokens stands with the last of them."""
    pieces: list[str] = []
    pending = 0
    for end in range(1, len(ids) + 1):
        # The last tokens alone decide: a window keeps this linear, and one token before it keeps leading spaces.
        start = max(0, pending - 1)
        before = tokenizer.decode(ids[start:pending])
        whole = tokenizer.decode(ids[start:end])
        if whole.endswith("\ufffd") and end < len(ids):
            pieces.append("")
            continue
        pieces.append(whole[len(before) :] if whole.startswith(before) else tokenizer.decode(ids[pending:end]))
        pending = end
    return pieces


def figures(scores: Sequence[TokenScore]) -> Figures:
    """What all these tokens add up to; there must be at least one."""
    count = len(scores)
    base = math.fsum(entry.base.logprob for entry in scores)
    tuned = math.fsum(entry.tuned.logprob for entry in scores)
    divergences = sorted(entry.kl_base_tuned for entry in scores)
    return Figures(
        tokens=count,
        logprob_base=base,
        logprob_tuned=tuned,
        perplexity_base=perplexity(base, count),
        perplexity_tuned=perplexity(tuned, count),
        mean_kl=math.fsum(divergences) / count,
        kl_percentiles={str(share): percentile(divergences, share) for share in PERCENTILES},
        same_top=sum(entry.same_top for entry in scores) / count,
    )


def perplexity(logprob: float, tokens: int) -> float:
    """exp of the mean negative log-probability; infinite where it overflows."""
    try:
        return math.exp(-logprob / tokens)
    except OverflowError:
        return math.inf


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` percent of sorted ``values`` lie, between neighbours by straight lines."""
    place = share / 100 * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)
