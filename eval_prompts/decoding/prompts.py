"""Rows laid out in tokens: the prompt of each, how its answer begins, and what ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eval_prompts.answers import UNSAID
from eval_prompts.decoding.sampling import generator_for
from eval_prompts.decoding.tokenizers import decoder
from eval_prompts.rows import FINAL_STATES
from tuning.data.chat import encode_messages
from tuning.data.template import chat_template
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from eval_prompts.models.pair import Side
    from eval_prompts.rows import Row, State


def lay_out(rows: Sequence[Row], tokenizers: Mapping[Side, PreTrainedTokenizerBase], context: int) -> None:
    """Lay out rows, nothing of which has been computed, for their sides' tokenizers and a model that holds ``context``
    tokens; one that goes on from another's answer waits for that. Raises UserError if a question does not fit."""
    known: dict[tuple[int, int, bool], list[int]] = {}
    for row in rows:
        asked, tokenizer = row.stream.questions[row.index], tokenizers[row.side]
        if asked.after is not None:
            row.ids, row.written = [], []
            continue
        key = (id(tokenizer), row.index, row.side == "tuned" and asked.tuned is not None)
        if key not in known:
            known[key] = encode_messages(tokenizer, asked.to(row.side))
        put(row, known[key], tokenizer, context)


def put(row: Row, prompt: list[int], tokenizer: PreTrainedTokenizerBase, context: int) -> None:
    """Put a prompt's tokens into a row, and what ends its answer. Raises UserError if it does not fit."""
    asked, settings, template = row.stream.questions[row.index], row.stream.settings, chat_template(tokenizer)
    if len(prompt) >= context:
        turns = sum(turn["role"] == "user" for turn in row.stream.conversation(row.index, row.side, row.strength))
        what, mend = ("conversation", "begin a new one") if turns > 1 else ("question", "shorten it")
        raise UserError(f"The {what} is {len(prompt):,} tokens long; this model holds {context:,}: {mend}.")
    begun = beginning(asked.begun, tokenizer)
    if len(prompt) + len(begun) >= context:
        raise UserError(f"Question and beginning fill the {context:,} tokens that this model holds: cut them.")
    row.ids, row.prompt_length = [*prompt, *begun], len(prompt)
    row.written, row.odds = begun, [None] * len(begun)
    row.limit = min(len(row.ids) + int(settings.max_new_tokens), context)
    row.short = row.limit < len(row.ids) + int(settings.max_new_tokens)
    row.generator = generator_for(settings, asked.seed)
    row.ends, row.stops = template.end_ids(), tuple(template.stop_strings)
    row.decode = decoder(tokenizer, row.ends)
    row.opening = template.opening


def goes_on(row: Row, tokenizers: Mapping[Side, PreTrainedTokenizerBase], context: int) -> State | None:
    """Lay out a row that goes on from another answer of its request. Returns None where the row can be computed,
    "waiting" while that answer is not over, and, where it gives nothing to go on from or the conversation does not fit,
    the state in which this row ends, by itself; it then says why."""
    before = row.stream.before(row)
    if before is None or row.ids:
        return None
    if before.state not in FINAL_STATES:
        return "waiting"
    if before.state not in ("ended", "capped"):
        row.problem = before.problem
        return "failed" if before.state == "failed" else "cancelled"
    conversation = row.stream.conversation(row.index, row.side, row.strength)
    try:
        if not conversation[-2]["content"].strip():
            raise UserError(UNSAID)
        put(row, encode_messages(tokenizers[row.side], conversation), tokenizers[row.side], context)
    except UserError as error:
        row.problem = str(error)
        return "failed"
    return None


def beginning(begun: str | Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens with which an answer begins, where that is given. Raises UserError for tokens that there are not."""
    if isinstance(begun, str):
        return list(chat_template(tokenizer).encode_answer(begun)) if begun else []
    if begun and not 0 <= min(begun) <= max(begun) < len(tokenizer):
        raise UserError("The answer begins with tokens that this model lacks: read its text again.")
    return list(begun)
