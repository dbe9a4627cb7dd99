"""Parts of transformers that have no public name, or no public way to change them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tuning.upstream.expected import expect

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def gguf_progress(on_share: Callable[[float], None]) -> Iterator[None]:
    """Have ``on_share`` told, from 0 to 1, how much of a GGUF file is decoded while transformers reads it.

    Why: transformers prints a bar of its own there and takes no callback. Raises UserError for a transformers that
    does it otherwise.
    """
    module: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    own = getattr(module, "tqdm", None)
    expect(callable(own), "transformers", "the bar of modeling_gguf_pytorch_utils")
    expect("tqdm" in module.load_gguf_checkpoint.__code__.co_names, "transformers", "load_gguf_checkpoint")

    def follow(tensors: Sequence[Any], **_: Any) -> Iterator[Any]:
        for count, tensor in enumerate(tensors):
            on_share(count / len(tensors))
            yield tensor

    module.tqdm = follow
    try:
        yield
    finally:
        module.tqdm = own


def is_stateful(model: PreTrainedModel) -> bool:
    """Whether a model carries a recurrent state, which goes on token by token alone.

    Why: transformers keeps the mark for its own generation, and says it nowhere else.
    """
    from transformers import PreTrainedModel

    expect(getattr(PreTrainedModel, "_is_stateful", None) is False, "transformers", "PreTrainedModel._is_stateful")
    return bool(getattr(model, "_is_stateful", False))
