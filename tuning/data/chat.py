"""The one way from a question to tokens, for training, asking and previews alike.

What is trained is what is asked: both go through :func:`encode_prompt`. User text is only ever text:
``<|im_start|>`` typed into a question becomes the characters, never the control token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM_PROMPT = (
    "You are a Python coding expert and a helpful coding tutor. "
    "Your task is to answer Python coding questions accurately and clearly."
)
USER_PREFIX = "Solve this problem using Python coding language."
MAX_QUESTION_CHARACTERS = 20_000


@dataclass(frozen=True)
class Example:
    """One training example as token ids.

    ``prompt_ids`` is everything up to and including the assistant's header; ``answer_ids`` is the answer and its
    one closing end token, and is exactly what carries a label. ``truncated`` says that the answer was cut to fit.
    """

    prompt_ids: list[int]
    answer_ids: list[int]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


def check_question(text: str) -> str:
    """The question without surrounding white space; raises UserError if it cannot be asked."""
    if not isinstance(text, str) or not text.strip():
        raise UserError("The question is empty: type a question first.")
    if "\x00" in text:
        raise UserError("The question holds a NUL byte: remove it and ask again.")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise UserError(
            f"The question has {len(text):,} characters; at most {MAX_QUESTION_CHARACTERS:,} fit: shorten it."
        )
    return text.strip()


def user_turn(question: str, input: str = "") -> str:
    """The user's message: the fixed lead-in, the question, and the question's input where it has one."""
    return "\n".join(part for part in (USER_PREFIX, question.strip(), input.strip()) if part)


def prompt_messages(question: str, input: str = "") -> list[dict[str, str]]:
    """The conversation that an answer follows, as chat messages: ``role`` and ``content`` of system and user."""
    return [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": user_turn(question, input)},
    ]


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that closes an answer; raises UserError where the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise UserError("This tokenizer has no end token: choose an instruction-tuned (chat) model.")
    return tokenizer.eos_token_id


def encode_prompt(tokenizer: PreTrainedTokenizerBase, question: str, input: str = "") -> list[int]:
    """Token ids of system prompt, user turn and assistant header. Raises UserError without a chat template."""
    if not tokenizer.chat_template:
        raise UserError("This model has no chat template: choose an instruction-tuned (chat) model.")
    return tokenizer.apply_chat_template(
        prompt_messages(question, input),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
        sanitize_control_tokens=True,
    )


def encode_example(
    tokenizer: PreTrainedTokenizerBase, question: str, input: str, answer: str, max_tokens: int
) -> Example:
    """One question with its answer as an :class:`Example` of at most ``max_tokens`` tokens.

    An answer that does not fit loses its tail but never its closing token, and the example says so. Raises
    UserError if the prompt leaves no room for an answer.
    """
    prompt_ids = encode_prompt(tokenizer, question, input)
    room = max_tokens - len(prompt_ids) - 1
    if room < 1:
        raise UserError(
            f"A prompt of {len(prompt_ids):,} tokens leaves no room for an answer in {max_tokens:,}: "
            "shorten the question or raise the maximum length."
        )
    text_ids = tokenizer(answer.strip(), add_special_tokens=False, split_special_tokens=True).input_ids
    return Example(prompt_ids, [*text_ids[:room], end_token_id(tokenizer)], truncated=len(text_ids) > room)
