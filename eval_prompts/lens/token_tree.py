"""Answers to prompts as one tree of tokens: what several begin with stands there once, and each token sees those
between it and the root alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from eval_prompts.lens.token_scores import check, entries_of, room
from tuning.data.chat import Message
from tuning.data.template import chat_template
from tuning.data.thinking import continued
from tuning.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Continuation(NamedTuple):
    """A text that may follow a prompt as the answer; ``ended`` counts the token that closes an answer, too."""

    text: str
    ended: bool = False


@dataclass(frozen=True)
class Choices:
    """A conversation, and the answers to it whose likelihoods are asked for."""

    messages: tuple[Message, ...]
    texts: tuple[Continuation, ...]


@dataclass(frozen=True)
class Encoded:
    """One prompt and its continuations in tokens."""

    prompt: tuple[int, ...]
    texts: Mapping[Continuation, tuple[int, ...]]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, choices: Choices) -> Encoded:
        """The tokens as ``tokenizer`` has them; a draft that the prompt has opened is closed, empty. Raises UserError
        for a broken template."""
        template = chat_template(tokenizer)
        prompt = template.encode(choices.messages)
        if template.opening:
            prompt += template.encode_answer(continued("", template.traits.generation_prompt))
        texts = {}
        for one in dict.fromkeys(choices.texts):
            ids = template.encode_answer(one.text) if one.text else []
            texts[one] = tuple([*ids, *template.closing_ids[:1]] if one.ended else ids)
        return cls(tuple(prompt), texts)

    def problem(self, model: PreTrainedModel) -> UserError | None:
        """Why this cannot be read; None where it can."""
        entries = entries_of(model)
        try:
            for ids in self.texts.values():
                check(self.prompt, ids, room(model, len(self.prompt)))
                if max((*self.prompt, *ids)) >= entries:
                    raise UserError(f"The text holds tokens beyond the {entries:,} that this model has.")
        except UserError as error:
            return error
        return None

    @property
    def depth(self) -> int:
        """Tokens of the longest text that the model reads."""
        return len(self.prompt) + max((len(ids) - 1 for ids in self.texts.values()), default=0)

    @property
    def places(self) -> int:
        """Places at which something is predicted, at most."""
        return sum(len(ids) for ids in self.texts.values())


@dataclass
class Tree:
    """Tokens laid out once each: node ``n`` is the token ``ids[n]`` behind its parent ``parents[n]`` (-1 for none)."""

    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, tokens: Sequence[int], parent: int = -1) -> list[int]:
        """Lay out ``tokens`` behind ``parent``, where they are not there yet; the node of each."""
        nodes = []
        for token in tokens:
            node = self._children.get((parent, token))
            if node is None:
                node = self._children[parent, token] = len(self.ids)
                self.ids.append(token)
                self.depths.append(self.depths[parent] + 1 if parent >= 0 else 0)
                self.parents.append(parent)
            nodes.append(node)
            parent = node
        return nodes

    def lay_out(self, encoded: Encoded) -> list[int]:
        """Lay out a prompt with its continuations; the nodes at which their tokens are predicted, one after another."""
        end = self.add(encoded.prompt)[-1]
        at = []
        for ids in encoded.texts.values():
            at += [end, *self.add(ids[:-1], end)]
        return at

    def mask(self, dtype: torch.dtype) -> torch.Tensor:
        """[1, 1, nodes, nodes]: 0 where a node sees another, which is itself or one on its way from the root, and the
        lowest number elsewhere."""
        import torch

        seen = torch.zeros(len(self.ids), len(self.ids), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        lowest = torch.finfo(dtype).min
        return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, lowest)[None, None]
