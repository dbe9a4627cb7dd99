"""The tokenizer and chat template that an adapter brings, which its side is then asked with."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts.models.adapter_files import read_text
from tuning.data.template import CHOICE, LISTED_ENDS
from tuning.errors import UserError
from tuning.file_names import TEMPLATE_FILE
from tuning.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
CHOSEN = "It brings a chat template of its own, but is asked with the one that was chosen with --chat-template."
FOREIGN_SHARE = 0.01
"""Up to this share of the base's tokens may mean something else: people put their own on reserved ids."""

log = logging.getLogger(__name__)


def tokenizer_of(
    folder: Path, base: PreTrainedTokenizerBase, entries: int
) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The tokenizer for an adapter's side, and what is to be said of it: ``base`` itself where nothing differs.

    ``entries`` is how many the adapter's vocabulary layers have. Raises UserError if the adapter's tokenizer is that of
    another vocabulary, or has tokens that the model lacks.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):
        return with_template(folder, base)
    own = load(folder)
    if own is None:
        return base, ["Its own tokenizer cannot be loaded: the base's is used."]
    for mark in (CHOICE, LISTED_ENDS):  # what was chosen for the base, and where its answers end, holds here too
        if hasattr(base, mark):
            setattr(own, mark, getattr(base, mark))
    check_vocabulary(own, base, entries)
    overruled = template_chosen(base) and own.chat_template not in (None, base.chat_template)
    if overruled:
        own.chat_template = base.chat_template
    if own.get_vocab() != base.get_vocab() or own.eos_token_id != base.eos_token_id:
        if own.chat_template is None:
            own.chat_template = base.chat_template
        return own, [difference(own, base), *([CHOSEN] if overruled else [])]
    if overruled:
        return base, [CHOSEN]
    if own.chat_template is not None and own.chat_template != base.chat_template:
        return own, ["It brings a chat template of its own, and is asked with it."]
    return with_template(folder, base)


def template_chosen(base: PreTrainedTokenizerBase) -> bool:
    """Whether the user has chosen a chat template, which then holds for both sides."""
    return getattr(base, CHOICE, (None, None))[0] is not None


def load(folder: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer in a folder; None if it cannot be loaded."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception:
        log.exception("The tokenizer that the adapter %s brings cannot be loaded: the base's is used", folder.name)
        return None


def with_template(folder: Path, base: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """``base``, or a copy with the template that lies in ``folder`` if that is another one."""
    path = folder / TEMPLATE_FILE
    template = read_text(path) if path.is_file() else None
    if template is None or template == base.chat_template:
        return base, []
    if template_chosen(base):
        return base, [CHOSEN]
    own = copy.deepcopy(base)
    own.chat_template = template
    return own, ["It brings a chat template of its own, and is asked with it."]


def check_vocabulary(own: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase, entries: int) -> None:
    """Raise UserError unless the base's tokens mean the same in both, and the model has an entry for each token."""
    mine = own.get_vocab()
    if mine and max(mine.values()) >= entries:
        raise UserError(
            f"The adapter's tokenizer has tokens up to number {max(mine.values()):,}, but the model has {entries:,} "
            "entries and the adapter none for the others: train it with modules_to_save for the vocabulary."
        )
    theirs = base.get_vocab()
    moved = sum(mine.get(token) != number for token, number in theirs.items())
    if moved > FOREIGN_SHARE * len(theirs) + 8:
        raise UserError(
            f"The adapter is for a model of another vocabulary: {moved:,} of the base's {len(theirs):,} tokens have "
            "another number in the adapter's tokenizer, or none."
        )


def difference(own: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase) -> str:
    """What sets an adapter's tokenizer off from the base's, in one sentence."""
    mine, theirs = own.get_vocab(), base.get_vocab()
    added = sorted(token for token, number in mine.items() if theirs.get(token) != number)
    parts = []
    if added:
        shown = ", ".join(added[:4]) + (f" and {len(added) - 4} more" if len(added) > 4 else "")
        parts.append(f"{len(added)} tokens of its own ({shown})")
    if own.eos_token_id != base.eos_token_id:
        parts.append(f"the end token {own.eos_token}")
    template = own.chat_template != base.chat_template
    parts.append("a chat template of its own" if template else "the base's chat template")
    return f"It is asked with its own tokenizer: {', '.join(parts)}."
