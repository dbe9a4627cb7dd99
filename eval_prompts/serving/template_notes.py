"""What is to be said of the chat templates that the two sides are asked with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.models.pair import Pair, Side
    from tuning.data.template import ChatTemplate

EXAMPLE = "(the question)"


def template_notes(pair: Pair) -> list[str]:
    """What is to be said of the chat templates that the sides are asked with now, each remark once."""
    notes: list[str] = []
    for template in templates(pair):  # whoever asks is told too where one cannot be used
        notes += [str(template)] if isinstance(template, UserError) else template.notes
    return list(dict.fromkeys(notes))


def template_systems(pair: Pair) -> tuple[str, ...]:
    """What the templates of the sides write by themselves where no system text is given, in sentences."""
    usable = [template for template in templates(pair) if not isinstance(template, UserError)]
    return tuple(dict.fromkeys(filter(None, (template.traits.without_system for template in usable))))


def templates(pair: Pair) -> list[ChatTemplate | UserError]:
    """The chat templates that the sides are asked with now; in place of one that cannot be used, why."""
    from tuning.data.template import chat_template

    found: list[ChatTemplate | UserError] = []
    for tokenizer in pair.tokenizers.values() if pair.tuned is not None else [pair.tokenizer]:
        try:
            found.append(chat_template(tokenizer))
        except UserError as error:
            found.append(error)
    return found


def prompts_apart(pair: Pair) -> tuple[tuple[Side, str], ...]:
    """How each side is asked an example question, as its own template writes it; empty where both are asked alike."""
    from tuning.data.template import chat_template

    if pair.tuned is None or not pair.side_tokenizers:
        return ()
    question = [{"role": "user", "content": EXAMPLE}]
    try:
        asked = tuple((side, chat_template(used).render(question)) for side, used in pair.tokenizers.items())
    except UserError:  # whoever asks is told why
        return ()
    return asked if len({text for _, text in asked}) > 1 else ()
