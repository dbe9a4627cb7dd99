"""Weights in the types of GGUF: rounded by the gguf package, K-quants by llama.cpp itself where xllamacpp is installed.

Vectors stay in F32, as llama.cpp wants them. The head (and an embedding that is the head, too) keeps eight bits in the
types of four and five, because every answer goes through it; llama.cpp's own quantiser gives it more bits as well.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tuning.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Type = Literal["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
TYPES: tuple[Type, ...] = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
K_QUANTS = frozenset({"Q4_K", "Q5_K", "Q6_K"})
PLAIN = frozenset({"F32", "F16", "BF16"})
FILE_TYPES: dict[Type, str] = {
    **{"F32": "ALL_F32", "F16": "MOSTLY_F16", "BF16": "MOSTLY_BF16", "Q8_0": "MOSTLY_Q8_0", "Q4_0": "MOSTLY_Q4_0"},
    **{"Q4_1": "MOSTLY_Q4_1", "Q5_0": "MOSTLY_Q5_0", "Q5_1": "MOSTLY_Q5_1", "Q4_K": "MOSTLY_Q4_K_S"},
    **{"Q5_K": "MOSTLY_Q5_K_S", "Q6_K": "MOSTLY_Q6_K"},
}
BITS: dict[Type, float] = {
    **{"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6},
    **{"Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625},
}
"""A weight, with its block's scales."""
HEADS = ("output.weight", "token_embd.weight")
NEEDS_XLLAMACPP = (
    "{type} is rounded by llama.cpp itself: install the extra gguf (pip install 'lora-lens[gguf]'), or choose Q8_0, "
    "Q5_1, Q5_0, Q4_1 or Q4_0."
)


@dataclass
class Quantiser:
    """Rounds tensors to ``type``; counts those that had to be kept in another one in ``others``."""

    type: Type
    tied: bool = False
    """Whether the embedding is the head as well."""
    others: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type in K_QUANTS:
            library()  # a missing package is said before the work begins

    def type_of(self, name: str, shape: tuple[int, ...]) -> Type:
        """In which type a tensor of GGUF's ``name`` and this shape ([out, in]) is stored."""
        if len(shape) < 2 or self.type == "F32":
            return "F32"
        if self.type in PLAIN:
            return self.type
        head = name == "output.weight" or (self.tied and name == "token_embd.weight")
        wanted: Type = "Q8_0" if head and self.type != "Q8_0" else self.type
        if wanted in K_QUANTS and shape[-1] % 256:
            wanted = "Q8_0"
        return "F16" if shape[-1] % 32 else wanted

    def bytes_of(self, name: str, shape: tuple[int, ...]) -> int:
        """How many bytes the tensor takes."""
        count = 1
        for size in shape:
            count *= size
        return int(count * BITS[self.type_of(name, shape)] / 8)

    def round(self, name: str, tensor: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], Type]:
        """A tensor as GGUF stores it, and its type. Raises UserError for numbers that F16 cannot hold."""
        import gguf
        import numpy as np

        kind = self.type_of(name, tensor.shape)
        if kind != self.type and tensor.ndim > 1:
            self.others[kind] = self.others.get(kind, 0) + 1
        if kind == "F32":
            return tensor.astype(np.float32), kind
        if kind == "F16":
            if np.abs(tensor).max(initial=0.0) > np.finfo(np.float16).max:
                raise UserError(f"The weight {name} has numbers that F16 cannot hold: choose BF16 or F32.")
            return tensor.astype(np.float16), kind
        if kind in K_QUANTS:
            return quantise_k(tensor, kind), kind
        rounded: npt.NDArray[Any] = gguf.quantize(tensor, gguf.GGMLQuantizationType[kind])
        return rounded, kind

    @property
    def notes(self) -> list[str]:
        """Which tensors are in another type than the one asked for."""
        return [
            f"{count} tensors are in {kind} rather than {self.type}: the head, or rows whose length does not divide."
            for kind, count in sorted(self.others.items())
        ]


@cache
def library() -> ctypes.CDLL:
    """llama.cpp as xllamacpp brings it along. Raises UserError if it is not installed or lacks the quantiser."""
    try:
        import xllamacpp.xllamacpp as module

        opened = ctypes.CDLL(module.__file__)
        quantise = opened.ggml_quantize_chunk
    except (ImportError, OSError, AttributeError) as error:
        raise UserError(NEEDS_XLLAMACPP.format(type="A K-quant")) from error
    quantise.restype = ctypes.c_size_t
    quantise.argtypes = [
        *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),
        ctypes.c_void_p,
    ]
    return opened


def quantise_k(tensor: npt.NDArray[np.float32], kind: Type) -> npt.NDArray[np.uint8]:
    """A matrix [rows, columns] in one of llama.cpp's K-quants, as bytes [rows, bytes a row].

    Raises UserError if llama.cpp wrote another number of bytes than the type has.
    """
    import gguf
    import numpy as np

    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    rows, columns = int(np.prod(tensor.shape[:-1])), tensor.shape[-1]
    source = np.ascontiguousarray(tensor, dtype=np.float32)
    target = np.empty((*tensor.shape[:-1], columns // block * size), dtype=np.uint8)
    written = library().ggml_quantize_chunk(
        int(number), source.ctypes.data_as(ctypes.c_void_p), target.ctypes.data_as(ctypes.c_void_p), 0, rows, columns, 0
    )
    if written != target.nbytes:
        raise UserError(f"llama.cpp could not round to {kind}: choose Q8_0.")
    return target
