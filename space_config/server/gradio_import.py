"""Changes to gradio that have to be made before it is imported; the others are in ``gradio_patches``.

Gradio writes an interface stub (``.pyi``) beside each of its own components whenever the class is made, which is each
time it is imported: more than a second of computing before any page, in a folder that is not ours to write to. Stubs
are for editors. There is no setting for it, and callers bind the function that does it when they are imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from tuning.upstream.expected import expect

MODULE, STUB_WRITER = "gradio.component_meta", "create_or_modify_pyi"


def write_nothing(component_class: type, class_name: str, events: object) -> None:
    """In the place of gradio's function that writes stubs."""


class Patched(Loader):
    """Loads a module as its own loader does, and takes the writing of stubs out of it."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._own.exec_module(module)
        if hasattr(module, STUB_WRITER):
            setattr(module, STUB_WRITER, write_nothing)


class Finder(MetaPathFinder):
    """Finds the module whose loader is wrapped, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = Patched(spec.loader)
        return spec


def without_stubs() -> None:
    """Have gradio write no stubs when it is imported, if it is not yet."""
    if MODULE not in sys.modules:
        sys.meta_path.insert(0, Finder())


def check() -> None:
    """Raise UserError for a gradio, which is imported by now, that writes its stubs in a way that is not known."""
    expect(hasattr(sys.modules.get(MODULE), STUB_WRITER), "gradio", f"{MODULE}.{STUB_WRITER}")


without_stubs()
