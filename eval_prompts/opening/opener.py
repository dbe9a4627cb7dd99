"""Opens other models and adapters in an app that runs: says what they need, then loads them beside those of now."""

from __future__ import annotations

import gc
import logging
import math
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.models.adapter_source import from_file, hub_name, lies_here, name_of
from eval_prompts.models.adapters import open_adapter, public_name
from eval_prompts.opening import recent
from eval_prompts.opening.wish import Wish
from eval_prompts.serving.lens import OPENING_FAILED
from eval_prompts.serving.local import LocalLoader
from tuning.errors import UserError
from tuning.files import remove
from tuning.models.causal import free_bytes
from tuning.models.known import PARAMETERS, PRESETS
from tuning.models.needs import FETCHED_FIRST, HELD_BYTES, NO_ROOM, Need, held_in, in_gigabytes, need_of

if TYPE_CHECKING:
    from eval_prompts.serving.lens import Lens
    from tuning.models.device import Device

log = logging.getLogger(__name__)

BUSY = "Other models are being opened already: wait for them."
LOADED = "loaded already"
SHARED = "What the two models have in common is held once, so it may be less."
COPIES = "This kind of adapter is merged into copies of the layers that it touches, so it may be less."
TOO_LARGE = (
    "{name} needs {needed} of memory, but {free} are free beside what is loaded now: choose a smaller one, hold it in "
    "4 bits, or start the app with it (--model), where nothing else is loaded."
)
NOTHING_TOLD: dict[str, Any] = {"words": "", "progress": None, "error": "", "opened": ""}


@dataclass(frozen=True)
class Needs:
    """What a wish takes: ``base`` and ``tuned`` (None where there is none), and the memory that is ``free`` now."""

    base: Need
    tuned: Need | None
    free: int
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> list[Need]:
        """Each model or adapter that has to be loaded."""
        return [self.base, self.tuned] if self.tuned else [self.base]

    @property
    def known(self) -> int:
        """Bytes of those whose size is known."""
        return sum(part.bytes or 0 for part in self.parts)

    @property
    def fits(self) -> bool | None:
        """Whether there is room; None where a size is not known and the others fit."""
        if self.known > self.free:
            return False
        return None if any(part.bytes is None for part in self.parts) else True

    @property
    def words(self) -> list[str]:
        """In sentences for people."""
        parts = " + ".join(part.words for part in self.parts)
        total = f" = {in_gigabytes(self.known)}" if len(self.parts) > 1 and self.known else ""
        free = f"{in_gigabytes(self.free)} are free beside what is loaded now"
        ends = {
            True: f"{free}.",
            False: f"{free}: too little, so it will be refused or very slow.",
            None: f"{free}; whether that is enough is seen when it is loaded.",
        }
        return [f"Memory: {parts}{total}; {ends[self.fits]}", *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "words": self.words,
            "fits": self.fits,
            "needed_bytes": None if any(part.bytes is None for part in self.parts) else self.known,
            "free_bytes": self.free,
        }

    def check(self) -> None:
        """Raise UserError for a model that alone is larger than what is free, before anything is fetched for it."""
        for part in self.parts:
            if part.bytes is not None and part.bytes > self.free:
                needed, free = in_gigabytes(part.bytes), in_gigabytes(self.free)
                raise UserError(TOO_LARGE.format(name=public_name(part.name), needed=needed, free=free))


class Opener:
    """One opening at a time, for all pages and scripts together. All methods may be called from any thread."""

    def __init__(self, lens: Lens, busy: Callable[[], str] = lambda: "", closed: str = "") -> None:
        """``busy`` says why nothing may be opened now, ``closed`` why never, in words; '' where it may."""
        self._lens, self._busy, self.closed = lens, busy, closed
        local = isinstance(lens.loader, LocalLoader)
        self._started = lens.loader if isinstance(lens.loader, LocalLoader) else LocalLoader(adapter=None)
        self._first = Wish.of_loader(self._started) if local else None
        self._started_as = secrets.token_hex(8)
        self._lock = threading.Lock()  # around the beginning of an opening
        self._told: dict[str, Any] = {"opening": False, "number": 0, **NOTHING_TOLD}

    @property
    def now(self) -> Wish | None:
        """What answers now; None where that is not in this process."""
        loader, status = self._lens.loader, self._lens.status()
        if not isinstance(loader, LocalLoader):
            return None
        wish = Wish.of_loader(loader)
        if status.state != "ready" or (status.adapter is not None and status.adapter.is_model):
            return wish
        if status.adapter is None:
            return replace(wish, kind="none", tuned="")
        return replace(wish, kind="adapter", tuned=name_of(status.adapter.path))

    def offered(self) -> dict[str, Any]:
        """What the form offers: presets, what was opened lately, adapters that are here, and what answers now."""
        wishes = [*recent.recent(), *([self._first] if self._first else [])]
        now = self.now
        return {
            "closed": self.closed,
            "now": (now or Wish("")).to_dict(),
            "presets": [{"name": name, "words": preset_words(name)} for name in PRESETS],
            "recent": [wish.to_dict() | {"words": wish.words} for wish in dict.fromkeys(wishes)],
            "adapters": recent.adapters_here(),
        }

    def look(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """What a wish will take in memory, before anything is loaded or fetched. Raises UserError for one that can be
        seen not to load."""
        return self.needs(self._wish(sent)).to_dict()

    def needs(self, wish: Wish) -> Needs:
        """See :meth:`look`."""
        from tuning.models.device import pick_device

        loader = wish.loader(self._started)
        trusted = bool(loader.choices and loader.choices.trust_remote_code)
        device = pick_device(loader.device, loader.precision)
        each = HELD_BYTES.get(wish.hold, float(device.dtype.itemsize))
        models = [need_of(name, each, trusted) for name in (wish.base, *([wish.tuned] if wish.kind == "model" else []))]
        free, now = free_bytes(device.name), self.now
        loaded = now is not None and now.same_base(wish) and self._lens.status().state == "ready"
        stays = loaded and wish.kind != "model"
        held = self._lens.loaded_pair().device if stays else held_in(device, wish.precision, wish.hold, models, free)
        if not wish.hold:
            models = [need.times(held.dtype.itemsize / each) for need in models]
        notes = (NO_ROOM,) if not stays and held is not device else ()
        base = Need(models[0].name, 0, LOADED) if stays else models[0]
        if wish.kind == "none":
            return Needs(base, None, free, notes)
        if wish.kind == "model":
            return Needs(base, models[1], free, (*notes, SHARED))
        tuned, said = adapter_need(wish, models[0].bytes, held)
        return Needs(base, tuned, free, (*notes, *said))

    def open(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Open what is wished, and wait for it; returns the status then. Raises UserError, with the old models still
        answering, if it cannot be opened."""
        wish = self._wish(sent)
        with self._opening(wish):
            self._open(wish)
        return self._lens.status().to_dict()

    def begin(self, sent: Mapping[str, Any]) -> None:
        """Begin to open what is wished, in a thread of its own; :meth:`progress` tells the rest. Raises UserError if
        it cannot begin."""
        wish = self._wish(sent)
        work = ExitStack()
        work.enter_context(self._opening(wish))

        def go_on() -> None:
            with suppress(UserError), work:  # progress() tells it
                self._open(wish)

        threading.Thread(target=go_on, name="open", daemon=True).start()

    def progress(self) -> dict[str, Any]:
        """How far it is: ``opening``, ``words``, ``progress`` (a share, or None), and of the last one that is over
        ``error`` or ``opened`` (in words); ``number`` counts those that are over since the app was ``started``, which
        tells this process from others."""
        return {"started": self._started_as, **self._told}

    def received(self, sent: Path, folder: Path) -> str:
        """A zip that the web server has received into ``folder``, unpacked: the adapter's folder. Raises UserError for
        any other file, which is not kept."""
        place = sent.resolve()
        if not place.is_file() or not place.is_relative_to(folder.resolve()):
            raise UserError("That file was not uploaded: choose it again.")
        try:
            if place.suffix.lower() != ".zip":
                raise UserError(f"{place.name} is no zip: zip the adapter's folder, and choose that.")
            found = from_file(place)
            open_adapter(str(found))
            return str(found)
        finally:
            remove(place)

    def _wish(self, sent: Mapping[str, Any]) -> Wish:
        return Wish.of(sent, self.now or Wish("", precision=self._started.precision))

    def _check_free(self) -> None:
        """Raise UserError where nothing may be opened now."""
        if self.closed:
            raise UserError(self.closed)
        if self._told["opening"]:
            raise UserError(BUSY)
        if words := self._busy():
            raise UserError(words)

    @contextmanager
    def _opening(self, wish: Wish) -> Iterator[None]:
        """Being the one that opens, and telling what came of it."""
        with self._lock:
            self._check_free()
            number = self._told["number"]
            self._told = {"opening": True, "number": number, **NOTHING_TOLD, "words": "looking"}
        outcome = {"error": OPENING_FAILED}
        try:
            yield
            outcome = {"opened": wish.words}
            recent.remember(wish)
        except UserError as error:
            outcome = {"error": str(error)}
            raise
        except Exception as error:
            log.exception("%s could not be opened", wish.words)
            raise UserError(OPENING_FAILED) from error
        finally:
            self._told = {"opening": False, "number": number + 1, **NOTHING_TOLD, **outcome}

    def _report(self, message: str, progress: float | None = None) -> None:
        self._told = self._told | {"words": message, "progress": progress}

    def _open(self, wish: Wish) -> None:
        needs = self.needs(wish)
        needs.check()
        loader = wish.loader(self._started)
        if self._adapter_alone(wish, loader):
            self._report("loading the adapter")
            self._lens.reload(wish.tuned or None)
        else:
            self._lens.open(loader, self._report)
            gc.collect()  # the models of before are free of readers by now, and of cycles after this
        log.info("opened: %s", wish.words)

    def _adapter_alone(self, wish: Wish, loader: LocalLoader) -> bool:
        """Whether the base that is loaded stays: it is the one that is wished, and its files are what they were."""
        from tuning.models.weights import Choices, resolve

        now, status = self.now, self._lens.status()
        if wish.kind == "model" or now is None or status.state != "ready" or not now.same_base(wish):
            return False
        choices = loader.choices or Choices()
        found = resolve(wish.base, prefer_hub=loader.prefer_hub, on_progress=self._report, choices=choices)
        return found.fingerprint == status.fingerprint


def adapter_need(wish: Wish, base_bytes: int | None, device: Device) -> tuple[Need, tuple[str, ...]]:
    """What an adapter takes beside its base of ``base_bytes``, and what is to be said of it. Raises UserError if it can
    be seen not to load."""
    from eval_prompts.models.lora_linear import says_plain

    if not lies_here(wish.tuned):
        name = hub_name(wish.tuned)
        if name is None:
            raise UserError(f"There is no adapter folder {wish.tuned}: check the path.")
        return Need(name.words, None, FETCHED_FIRST), ()
    card, files = open_adapter(wish.tuned)
    notes = tuple(card.notes)
    if card.base and public_name(card.base) != public_name(wish.base):
        notes += (f"It was trained on {public_name(card.base)}.",)
    numbers = sum(math.prod(shape) for shape in files.shapes.values())
    if says_plain(files) and device.name == "cpu" and not wish.hold and device.dtype.itemsize == 4:
        return Need(card.name, 4 * numbers), notes
    return Need(card.name, base_bytes, "at most"), (*notes, COPIES)


def preset_words(name: str) -> str:
    """A preset's size in words."""
    return f"{PARAMETERS[name] / 1e6:,.0f} million parameters, {in_gigabytes(4 * PARAMETERS[name])} in fp32"
