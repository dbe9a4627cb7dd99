"""All runs beside each other: the settings in which they differ, what came of each, and which is the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning import presets
from tuning.data.chat import PYTHON_FORMAT, PromptFormat
from tuning.errors import UserError
from tuning.presets import PREFERENCES, Config
from tuning.runs import scores, start_adapter
from tuning.runs.progress import number
from tuning.runs.record import record_of
from tuning.runs.run import Run
from tuning.runs.scores import TaskScore
from tuning.views import form

NEVER_TOLD = (
    "data", "model", "sample_question", "sample_every", "sample_tokens", "threads", "device", "save_every",
    "keep_checkpoints", "track",
)  # fmt: skip
"""Settings that say nothing of what was learned, or have a column of their own."""
OF_THE_LOSS = ("validation_rows", "max_tokens", "thinking", "train_on")
"""Settings that say on which tokens of which rows a validation loss is measured."""
LONGEST = 60


@dataclass(frozen=True)
class Outcome:
    """What came of one run. ``score`` and ``base`` are shares of a task, ``forgotten`` by how much worse it is beside
    it; ``kind`` are runs whose losses mean the same, and ``asked`` those whose scores do."""

    name: str
    loss: float | None
    test_loss: float | None
    score: float | None
    base: float | None
    task: str
    questions: int
    forgotten: float | None
    notes: str
    kind: tuple[str, ...]
    asked: str = ""
    preset: str = ""


Told = tuple[Config, Outcome]


def outcome_of(run: Run) -> Outcome:
    """A run's figures, from its files. Raises UserError if this is no run."""
    settings = run.settings()
    record = record_of(run.adapter)
    found = scores.read(run.path)
    step = int(record.get("steps") or 0)
    own = scores.of_step(found, step)
    return Outcome(
        name=run.name,
        loss=record.get("loss_after"),
        test_loss=record.get("test_loss_after"),
        score=own.score if own else None,
        base=own.base if own else None,
        task=own.title if own else "",
        questions=own.questions if own else 0,
        forgotten=scores.forgotten(found, step),
        notes=settings["notes"],
        kind=kind_of(run.config(), record),
        asked=own.asked if own else "",
        preset=presets.name_today(settings["preset"]),
    )


def kind_of(config: Config, record: Mapping[str, Any]) -> tuple[str, ...]:
    """What two runs must share for their validation losses to be comparable: data, base, and what the loss is of, which
    in ``dpo`` is a gain on the adapter that the run goes on from."""
    loss = "sft"
    if config.objective in PREFERENCES:
        loss = f"{config.objective} {config.beta} {config.length_normalised}"
    if config.objective == "dpo":
        loss += f" {config.from_adapter}"
    data = str(record.get("data_fingerprint") or config.data)
    base = str(record.get("base_fingerprint") or config.model)
    told = record.get("prompt_format")
    asked = str(PromptFormat.from_dict(told) if told else PYTHON_FORMAT)  # in which versions before formats trained
    return data, base, loss, asked, template_of(config), *(str(getattr(config, name)) for name in OF_THE_LOSS)


def template_of(config: Config) -> str:
    """A run's chat template by its name, or by its text where that is a file, which may lie in several places."""
    path = Path(config.chat_template or "").expanduser()
    try:
        return (
            path.read_text(encoding="utf-8") if config.chat_template and path.is_file() else str(config.chat_template)
        )
    except (OSError, ValueError):
        return str(config.chat_template)


def differing(told: Sequence[Told]) -> list[dict[str, Any]]:
    """For each run the settings in which the runs differ, as the form writes them, as far as its preset does not say
    them; and the preset, where that is all or not the same for all."""
    values = [comparable(config) for config, _ in told]
    names = [name for name in presets.field_types() if name not in NEVER_TOLD]
    apart = [name for name in names if len({str(value.get(name)) for value in values}) > 1]
    several = len({found.preset for _, found in told}) > 1
    found = []
    for value, (_, outcome) in zip(values, told, strict=True):
        usual = comparable(presets.preset(outcome.preset)) if outcome.preset in presets.PRESETS else {}
        own = {name: value[name] for name in apart if name in value and value[name] != usual.get(name)}
        preset = {"preset": outcome.preset} if outcome.preset and (several or (apart and not own)) else {}
        found.append(preset | own)
    return found


def comparable(config: Config) -> dict[str, Any]:
    """Settings as the form writes them, those that mean the same alike: layers in one order, and steps only where no
    epochs stand in their place."""
    values = form.shown_values(config) | {"target_modules": ",".join(sorted(config.target_modules))}
    if config.epochs is not None:
        del values["max_steps"]
    return values


def words(differs: Mapping[str, Any]) -> str:
    """Settings as a person reads them."""
    told = []
    for name, value in differs.items():
        shown = ("yes" if value else "no") if isinstance(value, bool) else str(value) or "none"
        shown = start_adapter.called(shown) if name == "from_adapter" else form.data_name(shown)
        told.append(f"{name.replace('_', ' ')} {shown if len(shown) <= LONGEST else shown[:LONGEST] + '…'}")
    return ", ".join(told)


def best_of(outcomes: Iterable[Outcome]) -> tuple[str, str]:
    """The best run's name, and by what; two empty texts where nothing can be compared.

    By the score on one task where at least two runs have it on the same questions; else by validation loss, among the
    runs (at least two) whose losses mean the same. Of several such groups the largest one counts.
    """
    outcomes = list(outcomes)
    scored = largest({by_task(one): [] for one in outcomes if one.score is not None}, outcomes, by_task)
    if scored:
        chosen = max(scored, key=lambda one: one.score or 0.0)
        return chosen.name, f"the score on {chosen.task} of {len(scored)} runs"
    measured = largest({one.kind: [] for one in outcomes if one.loss is not None}, outcomes, by_loss)
    if measured:
        chosen = min(measured, key=lambda one: one.loss if one.loss is not None else float("inf"))
        return chosen.name, f"validation loss, among {len(measured)} runs on the same data"
    return "", ""


def by_task(one: Outcome) -> tuple[Any, ...] | None:
    """Whose score a run's may be compared with: of the same number of questions, where what was asked is not known."""
    return (one.asked or one.task, one.questions) if one.score is not None else None


def by_loss(one: Outcome) -> tuple[Any, ...] | None:
    """Whose loss a run's may be compared with."""
    return one.kind if one.loss is not None else None


def largest(groups: dict[Any, list[Outcome]], outcomes: Iterable[Outcome], key: Any) -> list[Outcome]:
    """The largest group of outcomes with one key, if it has two members or more."""
    for one in outcomes:
        if key(one) in groups:
            groups[key(one)].append(one)
    best = max(groups.values(), key=len, default=[])
    return best if len(best) > 1 else []


def table(runs: Sequence[Run]) -> tuple[list[dict[str, Any]], str]:
    """A row for each run, and by what the best one is the best ('' where none is marked). Runs that cannot be read are
    left out."""
    readable: list[Told] = []
    for run in runs:
        try:
            readable.append((run.config(), outcome_of(run)))
        except UserError:
            continue
    return beside(readable)


def beside(told: Sequence[Told]) -> tuple[list[dict[str, Any]], str]:
    """As :func:`table`, of what is known of the runs already."""
    apart = differing(told)
    best, why = best_of(outcome for _, outcome in told)
    rows = [
        {
            "run": found.name,
            "differs": words(different),
            "loss": number(found.loss),
            "test_loss": number(found.test_loss),
            "score": share(found.score),
            "base": share(found.base),
            "task": found.task,
            "forgotten": points(found.forgotten),
            "notes": found.notes,
            "best": found.name == best,
        }
        for (_, found), different in zip(told, apart, strict=True)
    ]
    return rows, why


def share(value: float | None) -> str:
    """A share in percent, or a dash."""
    return "-" if value is None else f"{100 * value:.1f}%"


def points(value: float | None) -> str:
    """A loss of points, or a dash."""
    return "-" if value is None else f"{100 * value:+.1f}"


def curve(found: Iterable[TaskScore]) -> dict[str, list[tuple[int, float]]]:
    """Scores by step for a chart, in percent: a line for each task, and for what was forgotten beside it; several,
    named apart, where not all steps were asked the same."""
    found = list(found)
    own: dict[tuple[str, str, int], list[tuple[int, float]]] = {}
    for one in found:
        if not one.beside:
            own.setdefault((one.title, one.asked, one.questions), []).append((one.step, round(100 * one.score, 2)))
    titles = Counter(title for title, _, _ in own)
    lines: dict[str, list[tuple[int, float]]] = {}
    for (title, _, questions), points in own.items():
        name = title if titles[title] == 1 else f"{title}, {questions:,} questions"
        lines[name if name not in lines else f"{name}, asked otherwise"] = points
    beside: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    for step in sorted({one.step for one in found}):
        lost = scores.forgotten(found, step)
        if lost is not None:
            tasks = sorted(one.title for one in found if one.step == step and one.beside and one.base is not None)
            beside.setdefault(tuple(tasks), []).append((step, round(100 * lost, 2)))
    for together, points in beside.items():
        lines["forgotten" if len(beside) == 1 else f"forgotten ({', '.join(together)})"] = points
    return lines
