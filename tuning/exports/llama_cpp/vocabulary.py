"""A tokenizer as llama.cpp reads it: tokens, merges or scores, special tokens, chat template.

llama.cpp splits text into words by rules it knows by name (the pre-tokenizer). A tokenizer whose rules are none of
those is refused: with a wrong name everything works, and numbers and names fall into other tokens than in training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuning.data.template import CHOICE, chat_template
from tuning.errors import UserError

if TYPE_CHECKING:
    import gguf
    from transformers import PreTrainedTokenizerBase

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + "?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + "?"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
)
SLASHED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BY_PATTERN = {
    rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{REST}": "llama-bpe",
    rf"{CONTRACTIONS}|{WORDS}|\p{{N}}|{REST}": "qwen2",
    rf"{CASED}|\p{{N}}{{1,3}}|{SLASHED}": "gpt-4o",
    rf"{TEKKEN}|\p{{N}}|{SLASHED}": "tekken",
}
"""The patterns of splitting that llama.cpp knows, by what its name for each is."""
UNMERGED = frozenset({"llama-bpe", "tekken"})
"""Those under which llama.cpp takes a word that is a token as it is, without merging it up."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"


@dataclass
class Vocabulary:
    """Everything of a tokenizer that a GGUF holds. ``scores`` are those of SentencePiece, empty for byte-level BPE."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    space_prefix: bool | None = None
    notes: list[str] = field(default_factory=list)


def vocabulary(tokenizer: PreTrainedTokenizerBase, entries: int) -> Vocabulary:
    """The vocabulary of a model whose embedding has ``entries`` rows.

    Raises UserError for a kind that llama.cpp lacks, an unknown pre-tokenizer, and tokens without a row.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(
            "This tokenizer has no tokenizer.json, from which a GGUF's vocabulary is made: convert it first."
        )
    spec = json.loads(backend.to_str())
    model = spec["model"]
    if model.get("type") != "BPE":
        raise UserError(f"A tokenizer of the kind {model.get('type')} cannot be written as GGUF: export --as merged.")
    tokens, types = listed(spec, entries)
    if is_sentencepiece(spec):
        return sentencepiece(spec, tokens, types)
    pre, notes = pre_tokenizer(spec)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return Vocabulary("gpt2", pre, tokens, types, merges=merges, notes=notes)


def listed(spec: Mapping[str, Any], entries: int) -> tuple[list[str], list[int]]:
    """Text and type of every token. Raises UserError if one has a number that the embedding lacks."""
    numbers: dict[str, int] = dict(spec["model"]["vocab"])
    added = {each["content"]: each for each in spec.get("added_tokens", [])}
    numbers |= {content: each["id"] for content, each in added.items()}
    beyond = sorted(content for content, number in numbers.items() if number >= entries)
    if beyond:
        raise UserError(
            f"The tokenizer has {len(beyond)} tokens that the model has no row for (such as {beyond[0]!r}): the "
            "adapter's embedding was not merged."
        )
    tokens, types = [f"[PAD{number}]" for number in range(entries)], [UNUSED] * entries
    byte_fallback = bool(spec["model"].get("byte_fallback"))
    unknown = spec["model"].get("unk_token")
    for content, number in numbers.items():
        tokens[number] = content
        if content in added:
            types[number] = CONTROL if added[content]["special"] else USER_DEFINED
        elif byte_fallback and len(content) == 6 and content.startswith("<0x") and content.endswith(">"):
            types[number] = BYTE
        else:
            types[number] = NORMAL
        if content == unknown and byte_fallback:
            types[number] = UNKNOWN
    return tokens, types


def is_sentencepiece(spec: Mapping[str, Any]) -> bool:
    """Whether a tokenizer works on SentencePiece's pieces (a mark for each blank) rather than on bytes."""
    return SPACE in json.dumps([spec.get("normalizer"), spec.get("pre_tokenizer")], ensure_ascii=False)


def sentencepiece(spec: Mapping[str, Any], tokens: list[str], types: list[int]) -> Vocabulary:
    """Pieces with scores: the earlier a piece's first merge, the higher. llama.cpp merges by score what SentencePiece
    and transformers merge by rank, which is the same order."""
    merges = spec["model"]["merges"]
    numbers: dict[str, int] = spec["model"]["vocab"]
    scores = [-float(len(merges) + number) for number in range(len(tokens))]
    for rank in range(len(merges) - 1, -1, -1):
        pair = merges[rank]
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        if left + right in numbers:
            scores[numbers[left + right]] = -float(rank)
    told = [
        token.replace(SPACE, " ") if kind == USER_DEFINED else token for token, kind in zip(tokens, types, strict=True)
    ]
    return Vocabulary("llama", "default", told, types, scores=scores, space_prefix=puts_space_first(spec))


def puts_space_first(spec: Mapping[str, Any]) -> bool:
    """Whether a blank is put before a text."""
    for part in (*parts(spec.get("normalizer"), "normalizers"), *parts(spec.get("pre_tokenizer"), "pretokenizers")):
        if part["type"] == "Prepend":
            return True
        if part["type"] == "Metaspace":
            return str(part.get("prepend_scheme", "always")) != "never" and part.get("add_prefix_space") is not False
    return False


def parts(step: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    """The steps of a sequence, or the one step."""
    if not step:
        return []
    return list(step[name]) if step["type"] == "Sequence" else [step]


def pre_tokenizer(spec: Mapping[str, Any]) -> tuple[str, list[str]]:
    """llama.cpp's name for how a byte-level tokenizer splits text into words, and what is to be said.

    Raises UserError if it has none.
    """
    notes = []
    normalizers = [part["type"] for part in parts(spec.get("normalizer"), "normalizers")]
    if normalizers == ["NFC"]:
        notes.append("llama.cpp takes text as it is; this tokenizer brings it into Unicode's form NFC first.")
    elif normalizers:
        raise UserError(f"This tokenizer changes text ({', '.join(normalizers)}), which llama.cpp does not do for it.")
    steps = parts(spec.get("pre_tokenizer"), "pretokenizers")
    name = name_of(steps)
    if name is None:
        pattern = next((pattern_of(step) for step in steps if step["type"] == "Split"), "")
        kinds = ", ".join(step["type"] for step in steps) or "nothing"
        raise UserError(
            f"llama.cpp knows no pre-tokenizer like this one ({kinds}{': ' + pattern[:60] if pattern else ''}): "
            "export --as merged."
        )
    if bool(spec["model"].get("ignore_merges")) != (name in UNMERGED) and name in UNMERGED:
        notes.append(f"llama.cpp takes whole words as they are under {name}, where this tokenizer merges them up.")
    return name, notes


def name_of(steps: Sequence[Mapping[str, Any]]) -> str | None:
    """llama.cpp's name for a sequence of splitting steps; None if it has none."""
    kinds = [step["type"] for step in steps]
    if not steps or kinds[-1] != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    by_words = bool(steps[-1].get("use_regex", True))
    if kinds == ["ByteLevel"] and by_words:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and by_words and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not by_words and steps[0].get("behavior") in ("Isolated", "isolated"):
        return BY_PATTERN.get(pattern_of(steps[0]))
    return None


def pattern_of(step: Mapping[str, Any]) -> str:
    """The pattern of a splitting step."""
    pattern = step.get("pattern") or {}
    return str(pattern.get("Regex") or pattern.get("String") or "")


def describe(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, entries: int) -> list[str]:
    """Write the whole vocabulary, the special tokens and the chat template; returns what is to be said."""
    found = vocabulary(tokenizer, entries)
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_vocab_size(entries)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.types)
    if found.merges:
        writer.add_token_merges(found.merges)
    if found.scores:
        writer.add_token_scores(found.scores)
    if found.space_prefix is not None:
        writer.add_add_space_prefix(found.space_prefix)
    return [*found.notes, *special_tokens(writer, tokenizer), *template(writer, tokenizer)]


def special_tokens(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Write the numbers of the special tokens, all ends of an answer, and whether a text begins and ends with one."""
    for name in ("bos", "unk", "pad"):
        number = getattr(tokenizer, f"{name}_token_id")
        if isinstance(number, int):
            getattr(writer, f"add_{name}_token_id")(number)
    ends = ends_of(tokenizer)
    for name, number in zip(("eos", "eot", "eom"), ends, strict=False):
        getattr(writer, f"add_{name}_token_id")(number)
    ids = tokenizer.encode("x")
    writer.add_add_bos_token(bool(ids) and ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(len(ids) > 1 and ids[-1] == tokenizer.eos_token_id)
    if not ends:
        return ["The tokenizer has no end token: answers end at the token limit alone."]
    return [f"A GGUF names three end tokens; {len(ends) - 3} more are left to llama.cpp."] if len(ends) > 3 else []


def ends_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every token that ends an answer: the tokenizer's own end first, then the template's, then the others."""
    made = chat_template(tokenizer)
    first = [tokenizer.eos_token_id, made.traits.closing_token]
    ends = [number for number in first if isinstance(number, int)]
    return list(dict.fromkeys([*ends, *sorted(made.end_ids())]))


def template(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Write the chat template that the adapter was trained in; returns what is to be said."""
    made = chat_template(tokenizer)
    text, notes = made.text, []
    thinking = getattr(tokenizer, CHOICE, (None, None))[1]
    if thinking is not None:
        text = "{%- set enable_thinking = " + ("true" if thinking else "false") + " -%}" + text
        notes.append(f"The template has thinking switched {'on' if thinking else 'off'}, as in training.")
    if made.traits.header:
        text += "{% if add_generation_prompt %}{{ " + json.dumps(made.traits.header) + " }}{% endif %}"
        notes.append("The model's template writes no header for an answer: it was added, as in training.")
    if made.stop_strings:
        notes.append(
            f"Answers end at the strings {', '.join(map(repr, made.stop_strings))}, which a GGUF cannot hold: give "
            "them as stop strings."
        )
    writer.add_chat_template(text)
    return notes
