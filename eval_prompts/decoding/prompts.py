"""Rows laid out in tokens: the prompt of each, how its answer begins, and what ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eval_prompts.decoding.sampling import generator_for
from eval_prompts.decoding.tokenizers import decoder
from tuning.data.chat import encode_messages
from tuning.data.template import chat_template
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from eval_prompts.models.pair import Side
    from eval_prompts.rows import Row


def lay_out(rows: Sequence[Row], tokenizers: Mapping[Side, PreTrainedTokenizerBase], context: int) -> None:
    """Lay out rows, nothing of which has been computed, for their sides' tokenizers and a model that holds ``context``
    tokens. Raises UserError if a question does not fit in it."""
    prompts: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        tokenizer, settings, question = tokenizers[row.side], row.stream.settings, row.stream.questions[row.index]
        template = chat_template(tokenizer)
        key = (id(tokenizer), row.index)
        if key not in prompts:
            prompts[key] = encode_messages(tokenizer, question.messages)
        prompt = prompts[key]
        if len(prompt) >= context:
            raise UserError(f"The question is {len(prompt):,} tokens long; this model holds {context:,}: shorten it.")
        begun = beginning(question.begun, tokenizer)
        if len(prompt) + len(begun) >= context:
            raise UserError(f"Question and beginning fill the {context:,} tokens that this model holds: cut them.")
        row.ids, row.prompt_length = [*prompt, *begun], len(prompt)
        row.written, row.odds = begun, [None] * len(begun)
        row.limit = min(len(row.ids) + int(settings.max_new_tokens), context)
        row.generator = generator_for(settings, question.seed)
        row.ends, row.stops = template.end_ids(), tuple(template.stop_strings)
        row.decode = decoder(tokenizer, row.ends)
        row.opening = template.opening


def beginning(begun: str | Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens with which an answer begins, where that is given. Raises UserError for tokens that there are not."""
    if isinstance(begun, str):
        return list(chat_template(tokenizer).encode_answer(begun)) if begun else []
    if begun and not 0 <= min(begun) <= max(begun) < len(tokenizer):
        raise UserError("The answer begins with tokens that this model lacks: read its text again.")
    return list(begun)
