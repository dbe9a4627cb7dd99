"""Whether another package is still what we were written for."""

from __future__ import annotations

import importlib.metadata
import inspect
from typing import Any

from tuning.errors import UserError


def expect(found: bool, package: str, what: str) -> None:
    """Raise UserError unless ``what``, a part of ``package``, was found as it was when this was written."""
    if not found:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = "(of an unknown version)"
        raise UserError(
            f"LoRA Lens does not know {package} {version}: {what} is not what it was. Install the version that "
            "requirements.txt names."
        )


def parameters(function: Any) -> list[str]:
    """The names of a function's parameters."""
    return list(inspect.signature(function).parameters)
