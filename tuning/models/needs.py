"""What a model will take in memory, told before it is loaded, or even fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuning.errors import UserError
from tuning.files import is_hub_name
from tuning.models import causal, gguf, hub
from tuning.models.known import PARAMETERS, PRESETS
from tuning.models.weights import EMBEDDED, HUB_REVISION, local, unknown

HELD_BYTES = {"4bit": 0.6, "8bit": 1.1}
"""What a number takes where bitsandbytes holds the linear layers in 4 or 8 bits, embeddings and scales counted in."""
FETCHED_FIRST = "fetched from the Hub first"


@dataclass(frozen=True)
class Need:
    """What a model takes. ``bytes`` is None where that cannot be told beforehand, and then ``note`` says why."""

    name: str
    bytes: int | None
    note: str = ""

    @property
    def words(self) -> str:
        """In a few words: 'smollm2-360m 1.4 GB (fetched from the Hub first)'."""
        size = "of unknown size" if self.bytes is None else in_gigabytes(self.bytes) if self.bytes else ""
        return " ".join(filter(None, (self.name, size, f"({self.note})" if self.note else "")))


def in_gigabytes(size: float) -> str:
    """Bytes for people; what is small in megabytes."""
    return f"{size / causal.GIGABYTE:.1f} GB" if size >= 0.1 * causal.GIGABYTE else f"{max(size, 1) / 1e6:.1f} MB"


def need_of(name: str, bytes_per_number: float, with_code: bool = False) -> Need:
    """What the weights called ``name`` (see :func:`tuning.models.weights.resolve`) take at so many bytes a number.

    Nothing is loaded or fetched; the Hub is asked for the size of what is not in its cache. Raises UserError for a name
    that stands for nothing, and for a model on this machine that can be seen not to load.
    """
    if name in PRESETS:
        here = name == EMBEDDED or hub.cached(PRESETS[name], None) is not None
        return Need(name, round(PARAMETERS[name] * bytes_per_number), "" if here else FETCHED_FIRST)
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
    return Need(name, causal.needed_bytes(folder, bytes_per_number))


def of_gguf(file: Path, bytes_per_number: float) -> Need:
    """What a GGUF takes once it is dequantised. Raises UserError if it cannot be read."""
    count = gguf.parameter_count(file)
    return Need(file.name, round(count * bytes_per_number), f"dequantised once, {in_gigabytes(4 * count)} on the disk")


def of_hub(name: str, repository: str, revision: str | None, bytes_per_number: float) -> Need:
    """What the Hub says of a model that is not here. Raises UserError if there is none, or it is closed to us."""
    size = hub.size(repository, revision)
    if size is None:
        return Need(name, None, "the Hub does not tell")
    return Need(name, size.files if size.quantised else round(size.numbers * bytes_per_number), FETCHED_FIRST)
