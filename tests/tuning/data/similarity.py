"""How alike two rows of the embedded data set are: detectors of near-duplicates and templated families."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from itertools import combinations

NEAR_DUPLICATE = 0.6
# Two rows with this share of common instruction words AND the same code but for names and values are one template.
SAME_TEMPLATE = 0.5


def words(text: str) -> list[str]:
    """Lower-case words of a text, punctuation attached, as they stand between white space."""
    return text.lower().split()


def ngrams(tokens: list[str], size: int = 5) -> set[tuple[str, ...]]:
    return {tuple(tokens[at : at + size]) for at in range(max(1, len(tokens) - size + 1))}


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def near_duplicates(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Pairs of instructions whose rows share more than 60% of their word 5-grams."""
    grams = [ngrams(words(f"{row['instruction']} {row['input']} {row['output']}")) for row in rows]
    holders: dict[tuple[str, ...], list[int]] = {}
    for at, found in enumerate(grams):
        for gram in found:
            holders.setdefault(gram, []).append(at)
    sharing = {pair for held in holders.values() for pair in combinations(held, 2)}
    return [
        (rows[one]["instruction"], rows[other]["instruction"])
        for one, other in sorted(sharing)
        if jaccard(grams[one], grams[other]) > NEAR_DUPLICATE
    ]


def code_of(row: dict[str, str]) -> str:
    return re.search(r"```python\n(.*?)```", row["output"], re.DOTALL).group(1)


def skeleton(code: str) -> tuple[str, ...]:
    """Code as tokens with every name and literal masked; keywords and operators stay."""
    import keyword

    masked = []
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NAME:
            masked.append(token.string if keyword.iskeyword(token.string) else "name")
        elif token.type in (tokenize.NUMBER, tokenize.STRING):
            masked.append("value")
        elif token.type == tokenize.OP:
            masked.append(token.string)
    return tuple(masked)


def templated(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Pairs whose answers are the same program but for names and values, and whose questions share most words."""
    by_skeleton: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        by_skeleton.setdefault(skeleton(code_of(row)), []).append(row)
    pairs = (pair for group in by_skeleton.values() for pair in combinations(group, 2))
    return [
        (one["instruction"], other["instruction"])
        for one, other in pairs
        if jaccard(set(words(one["instruction"])), set(words(other["instruction"]))) > SAME_TEMPLATE
    ]


def parses(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True
