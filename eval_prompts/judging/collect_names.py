"""Writes ``known_names.json``: the public names of libraries that answers import but that need not be installed here.

Run it where numpy, pandas and scikit-learn are installed: ``python -m eval_prompts.judging.collect_names``.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import pkgutil
from pathlib import Path
from types import ModuleType

FILE = Path(__file__).parent / "known_names.json"
MODULES = {
    "numpy": ["linalg", "random", "fft"],
    "pandas": [],
    "sklearn": [
        "base",
        "cluster",
        "compose",
        "datasets",
        "decomposition",
        "discriminant_analysis",
        "ensemble",
        "feature_extraction",
        "feature_selection",
        "impute",
        "linear_model",
        "metrics",
        "metrics.pairwise",
        "model_selection",
        "naive_bayes",
        "neighbors",
        "neural_network",
        "pipeline",
        "preprocessing",
        "svm",
        "tree",
        "utils",
    ],
}
OWN_CLASSES = ("numpy.ndarray", "pandas.DataFrame", "pandas.Series")
CLASSES_OF = [
    "cluster",
    "decomposition",
    "discriminant_analysis",
    "ensemble",
    "linear_model",
    "naive_bayes",
    "neighbors",
    "neural_network",
    "pipeline",
    "preprocessing",
    "svm",
    "tree",
]


def public_names(owner: ModuleType | type) -> list[str]:
    """What a reader may import from a module, or use of an instance: attributes and parameters of its constructor."""
    exported = {name for name in [*dir(owner), *getattr(owner, "__all__", ())] if not name.startswith("_")}
    if inspect.isclass(owner):
        with contextlib.suppress(ValueError):
            exported |= {name for name in inspect.signature(owner).parameters if name not in ("args", "kwargs")}
    return sorted(exported)


def collect() -> dict[str, dict[str, str]]:
    """{'versions': ..., 'modules': {name: names}, 'classes': {name: attributes}}, names parted by blanks."""
    modules, classes, versions = {}, {}, {}
    for package, parts in MODULES.items():
        top = importlib.import_module(package)
        versions[package] = top.__version__
        submodules = [module.name for module in pkgutil.iter_modules(top.__path__) if not module.name.startswith("_")]
        modules[package] = sorted({*public_names(top), *submodules})
        for part in parts:
            modules[f"{package}.{part}"] = public_names(importlib.import_module(f"{package}.{part}"))
    for name in OWN_CLASSES:
        package, _, kind = name.partition(".")
        classes[name] = public_names(getattr(importlib.import_module(package), kind))
    for part in CLASSES_OF:
        module = importlib.import_module(f"sklearn.{part}")
        for name in module.__all__:
            if inspect.isclass(getattr(module, name)):
                classes[f"sklearn.{part}.{name}"] = public_names(getattr(module, name))
    return {
        "versions": versions,
        "modules": {name: " ".join(names) for name, names in sorted(modules.items())},
        "classes": {name: " ".join(names) for name, names in sorted(classes.items())},
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(collect(), indent=1) + "\n", encoding="utf-8")
