"""What a model will take in memory, told before it is loaded, or even fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.errors import UserError
from tuning.files import is_hub_name
from tuning.models import causal, gguf, hub
from tuning.models.known import PARAMETERS, PRESETS
from tuning.models.weights import EMBEDDED, HUB_REVISION, local, unknown

if TYPE_CHECKING:
    from tuning.models.device import Device

HELD_BYTES = {"4bit": 0.6, "8bit": 1.1}
"""What a number takes where bitsandbytes holds the linear layers in 4 or 8 bits, embeddings and scales counted in."""
FETCHED_FIRST = "fetched from the Hub first"
NO_ROOM = "bf16, as the weights are stored: in fp32 they do not fit into the free memory."


@dataclass(frozen=True)
class Need:
    """What a model takes. ``bytes`` is None where that cannot be told beforehand, and then ``note`` says why;
    ``in_bf16`` is whether its matrices are stored so."""

    name: str
    bytes: int | None
    note: str = ""
    in_bf16: bool = False

    def times(self, share: float) -> Need:
        """The same, where each number takes so much of what it was told to take."""
        return self if self.bytes is None else replace(self, bytes=round(self.bytes * share))

    @property
    def words(self) -> str:
        """In a few words: 'smollm2-360m 1.4 GB (fetched from the Hub first)'."""
        size = "of unknown size" if self.bytes is None else in_gigabytes(self.bytes) if self.bytes else ""
        return " ".join(filter(None, (self.name, size, f"({self.note})" if self.note else "")))


def in_gigabytes(size: float) -> str:
    """Bytes for people; what is small in megabytes."""
    return f"{size / causal.GIGABYTE:.1f} GB" if size >= 0.1 * causal.GIGABYTE else f"{max(size, 1) / 1e6:.1f} MB"


def held_in(device: Device, precision: str, quantize: str | None, needs: Sequence[Need], free: int) -> Device:
    """How models are held that take ``needs`` on a device. Where nothing was asked for, that is bf16 on a processor
    that computes in it, for weights stored so that do not fit into the ``free`` bytes of memory in fp32."""
    from tuning.models.device import has_bf16, pick_device

    asked = precision != "auto" or quantize
    if asked or device.name != "cpu" or not all(need.in_bf16 for need in needs) or not has_bf16("cpu"):
        return device
    return device if sum(need.bytes or 0 for need in needs) <= free else pick_device("cpu", "bf16")


def need_of(name: str, bytes_per_number: float, with_code: bool = False) -> Need:
    """What the weights called ``name`` (see :func:`tuning.models.weights.resolve`) take at so many bytes a number.

    Nothing is loaded or fetched; the Hub is asked for the size of what is not in its cache. Raises UserError for a name
    that stands for nothing, and for a model on this machine that can be seen not to load.
    """
    if name in PRESETS:
        size = round(PARAMETERS[name] * bytes_per_number)
        if name == EMBEDDED:
            return Need(name, size)
        folder = hub.cached(PRESETS[name], None)
        if folder is None:
            return Need(name, size, FETCHED_FIRST, in_bf16=True)  # as the Hub has all of these
        return Need(name, size, in_bf16=causal.stored_in_bf16(folder))
    place = Path(name).expanduser()
    if place.is_file():
        if place.suffix != ".gguf":
            raise UserError(f"{name} is a file, and no GGUF: name the folder that holds the model.")
        return of_gguf(place, bytes_per_number)
    if place.is_dir():
        file = None if (place / "config.json").is_file() else gguf.find(place)
        if file is not None:
            return of_gguf(file, bytes_per_number)
        return of_folder(place.name, local(name, place).path, bytes_per_number, with_code)
    if place.suffix == ".gguf" or not (is_hub_name(name) or HUB_REVISION.fullmatch(name)):
        raise UserError(unknown(name))
    repository, _, revision = name.partition("@")
    folder = hub.cached(repository, revision or None)
    if folder is not None:
        return of_folder(name, folder, bytes_per_number, with_code)
    return of_hub(name, repository, revision or None, bytes_per_number)


def of_folder(name: str, folder: Path, bytes_per_number: float, with_code: bool) -> Need:
    """What a model in transformers' layout takes. Raises UserError where it can be seen not to load."""
    causal.plan(folder, trust_remote_code=with_code)
    return of_weights(name, folder, bytes_per_number)


def of_weights(name: str, folder: Path, bytes_per_number: float) -> Need:
    """What the safetensors of a folder take."""
    return Need(name, causal.needed_bytes(folder, bytes_per_number), in_bf16=causal.stored_in_bf16(folder))


def of_gguf(file: Path, bytes_per_number: float) -> Need:
    """What a GGUF takes once it is dequantised. Raises UserError if it cannot be read."""
    count = gguf.parameter_count(file)
    return Need(file.name, round(count * bytes_per_number), f"dequantised once, {in_gigabytes(4 * count)} on the disk")


def of_hub(name: str, repository: str, revision: str | None, bytes_per_number: float) -> Need:
    """What the Hub says of a model that is not here. Raises UserError if there is none, or it is closed to us."""
    size = hub.size(repository, revision)
    if size is None:
        return Need(name, None, "the Hub does not tell")
    if size.quantised:
        return Need(name, size.files, FETCHED_FIRST)
    return Need(name, round(size.numbers * bytes_per_number), FETCHED_FIRST, size.in_bf16)
