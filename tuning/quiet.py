"""Silence for what libraries print to developers while a model or data set loads; we word our own messages."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

NOISY_LOGGERS = ("transformers", "datasets", "huggingface_hub", "bitsandbytes", "peft")
# Both are slow to import, and a data pipeline has no transformers: who needs them has imported them.
LOADED_BEFORE = ("transformers.utils.logging", "datasets")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, warnings or log lines below critical from the libraries that load models and data."""
    import huggingface_hub.utils as hub

    with ExitStack() as restore:
        restore.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in NOISY_LOGGERS:
            logger = logging.getLogger(name)
            restore.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        for library in (hub, *(sys.modules.get(name) for name in LOADED_BEFORE)):
            restore.enter_context(without_bars(library))
        yield


@contextmanager
def without_bars(library: ModuleType | None) -> Iterator[None]:
    """Switch off a library's progress bars; None is one that is not loaded."""
    if library is None:
        yield
        return
    if hasattr(library, "is_progress_bar_enabled"):
        were_on, off, on = library.is_progress_bar_enabled(), library.disable_progress_bar, library.enable_progress_bar
    else:
        were_on, off, on = (
            not library.are_progress_bars_disabled(),
            library.disable_progress_bars,
            library.enable_progress_bars,
        )
    off()
    try:
        yield
    finally:
        if were_on:
            on()
