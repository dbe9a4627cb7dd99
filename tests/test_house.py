"""The shape of the house, read from the imports: nothing here runs the product."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_FILES = 20
MOST_LINES = 330
PARTS = ("tuning", "eval_prompts", "space_config", "tests")
ROOMS = (
    "tuning.errors", "tuning.file_names", "tuning.upstream", "tuning.command_line", "tuning.files", "tuning.quiet",
    "tuning.progress", "tuning.hub_errors",
    "tuning.data", "tuning.setting_values", "tuning.presets", "tuning.runs", "tuning.models", "tuning.kernels",
    "tuning.ingest", "tuning.data.dataset", "tuning.training", "tuning.exports", "tuning.views", "tuning.shared_tab",
    "tuning.endpoints_tab", "tuning.tab", "tuning.__main__",
    "eval_prompts.models", "eval_prompts.rows", "eval_prompts.answers", "eval_prompts.stream", "eval_prompts.decoding",
    "eval_prompts.lens", "eval_prompts.judging",
    "eval_prompts.tasks", "eval_prompts.votes", "eval_prompts.serving", "eval_prompts.showing",
    "eval_prompts.answer_facts", "eval_prompts.comparison", "eval_prompts.report", "eval_prompts.progress",
    "eval_prompts.scoring.statistics",
    "eval_prompts.asking", "eval_prompts.surveys", "eval_prompts.verify", "eval_prompts.lens_command",
    "eval_prompts.strength_command",
    "eval_prompts.most_changed", "eval_prompts.scoring", "eval_prompts.learning", "eval_prompts.scoring.command",
    "eval_prompts.scoring.in_app", "eval_prompts.asked_report", "eval_prompts.tabs", "eval_prompts.tabs.task_tab",
    "eval_prompts.tabs.compare_tab", "eval_prompts.tabs.results_tab", "eval_prompts.tabs.score_tab",
    "eval_prompts.tabs.endpoints_tab", "eval_prompts.tabs.score_endpoints_tab", "eval_prompts.tabs.lens_tab",
    "eval_prompts.surveys.survey_tab", "eval_prompts.tabs.task_endpoints_tab", "eval_prompts.opening",
    "eval_prompts.__main__",
    "space_config.variables", "space_config.server", "space_config.space", "space_config.settings",
    "space_config.settings_page", "space_config.deploy",
    "app",
)  # fmt: skip
"""From the cellar up: a room imports those before it alone. A folder's rooms are ordered by the circle test."""


def name_of(path):
    """A file's dotted name; a package is called as its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources():
    """Every module of the product by name, parsed."""
    files = [
        ROOT / "app.py",
        *(file for part in ("tuning", "eval_prompts", "space_config") for file in (ROOT / part).rglob("*.py")),
    ]
    return {name_of(file): (file, ast.parse(file.read_text(encoding="utf-8"))) for file in files}


def is_for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(tree, modules=frozenset()):
    """The names a tree imports when it runs, at its top and inside its functions. ``from a import b`` is ``a.b`` if
    that is one of ``modules``."""
    for node in ast.iter_child_nodes(tree):
        if is_for_types(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports give the whole name"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        yield from imported(node, modules)


@cache
def graph():
    """Module → the product's modules that it imports."""
    modules = frozenset(sources())
    return {name: set(imported(tree, modules)) & modules - {name} for name, (_, tree) in sources().items()}


def reach(start, edges):
    seen, waiting = set(), list(edges[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting.extend(edges[module])
    return seen


def room(module):
    """The longest entry of ROOMS that a module lies in; None for a package's own line."""
    entries = [entry for entry in ROOMS if module == entry or module.startswith(f"{entry}.")]
    return max(entries, key=len, default=None)


def test_no_two_modules_import_each_other():
    edges = graph()
    assert {module for module in edges if module in reach(module, edges)} == set()


def test_imports_run_downwards():
    rank = {entry: number for number, entry in enumerate(ROOMS)}
    upward = {
        (module, target)
        for module, targets in graph().items()
        for target in targets
        if room(module) and room(target) and rank[room(target)] > rank[room(module)]
    }
    assert upward == set()


def test_every_module_has_a_room():
    lost = {module for module in sources() if room(module) is None} - {"tuning", "eval_prompts", "space_config"}
    assert not lost, "name it in ROOMS, above what it imports"


@pytest.mark.parametrize(
    ("part", "others"),
    [("tuning", {"eval_prompts", "space_config", "app"}), ("eval_prompts", {"space_config", "app"})],
)
def test_the_parts_know_those_below_them_only(part, others):
    """Also what is imported for its types alone."""
    for module, (_, tree) in sources().items():
        if module.split(".")[0] == part:
            every = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            every |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
            assert not {name.split(".")[0] for name in every} & others, module


def test_gradio_is_imported_by_tabs_alone():
    users = {
        str(file.relative_to(ROOT))
        for file, tree in sources().values()
        if any(name.split(".")[0] == "gradio" for name in imported(tree))
    }
    assert "app.py" in users
    assert [user for user in sorted(users) if not user.endswith(("tab.py", "app.py", "gradio_patches.py"))] == []


def test_a_folder_is_seen_at_a_glance():
    counts = {}
    for file in (*(file for file, _ in sources().values()), *(ROOT / "tests" / "benchmarks").rglob("*.py")):
        counts[file.parent] = counts.get(file.parent, 0) + 1
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_no_file_outgrows_its_reader():
    """Code, tests and the page's scripts."""
    files = [
        ROOT / "app.py",
        *(file for part in PARTS for kind in ("py", "js") for file in (ROOT / part).rglob(f"*.{kind}")),
    ]
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_a_circle_within_functions_is_seen():
    """The reader itself: a tree that hides its imports in a function, a branch and a type's block."""
    tree = ast.parse(
        "from a import b\nif TYPE_CHECKING:\n    import never\n"
        "def work():\n    if True:\n        import deep\n    from a import c, other\n"
    )
    assert list(imported(tree, {"a.b", "a.c"})) == ["a.b", "deep", "a.c", "a"]
    assert reach("x", {"x": {"y"}, "y": {"x"}}) == {"x", "y"}


MARKED = ("tuning.upstream.", "space_config.server.gradio_patches", "space_config.server.connections")
OPEN = {"_SubParsersAction", "_mapping", "_exit"}
"""Public in spite of the underscore: a type of argparse, a row of SQLAlchemy as a mapping, and ``os._exit``."""


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


@cache
def names_of_ours():
    """Every name that the product gives to something."""
    nodes = [node for _, tree in sources().values() for node in ast.walk(tree)]
    stored = {node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)}
    return (
        {node.attr for node in stored if isinstance(node, ast.Attribute)}
        | {node.id for node in stored if isinstance(node, ast.Name)}
        | {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    )


def names_used(tree):
    """The names that a tree reads from something else, by a dot, an import or ``getattr``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            yield from [part.value for part in node.args[1:2] if isinstance(part, ast.Constant)]


def test_what_others_keep_to_themselves_is_used_in_marked_places_alone():
    used = {
        (module, name)
        for module, (_, tree) in sources().items()
        if not module.startswith(MARKED)
        for name in names_used(tree)
        if is_private(name) and name not in names_of_ours() | OPEN
    }
    assert used == set()
