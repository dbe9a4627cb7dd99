"""The Train tab: describe a run, start it, watch it, come back to it, and compare what it made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder as gradio_uploads

from tuning import presets
from tuning.data.reading import text_files
from tuning.errors import UserError
from tuning.exports import hub
from tuning.exports.kinds import KINDS, PRECISIONS
from tuning.ingest import tables
from tuning.runs import helper_process, queue
from tuning.runs.run import set_notes
from tuning.shared_tab import Answer, IsOwner, answered, head_of, mount, text
from tuning.views import estimate, form, run_table, uploads
from tuning.views.actions import Actions
from tuning.views.run_view import Watcher

PAGE_FOLDER = Path(__file__).parent / "page"
SCRIPTS = (
    "chart.js", "train_log.js", "train_samples.js", "train_take.js", "train_run.js", "train_data.js", "train_queue.js",
    "train_form.js", "train_history.js", "train.js",
)  # fmt: skip
STYLES = ("train.css", "train_form.css", "train_run.css", "train_chart.css")
PREVIEW_SECONDS = 120.0


def head() -> str:
    """The tab's styles and scripts for the document's head; they need the Compare tab's ``dom.js`` before them."""
    return head_of(PAGE_FOLDER, STYLES, SCRIPTS)


def build(actions: Actions, upload_mb: int, may_train: IsOwner) -> None:
    """The Train tab inside the current layout; ``upload_mb`` is what the server takes of a file, in MiB, and
    ``may_train`` tells who may do more than watch."""
    fields: dict[str, Any] = form.form() | {
        "upload_mb": upload_mb,
        "types": [*text_files.KINDS, *text_files.COMPRESSIONS],
        "hub": "" if hub.token() else hub.NO_TOKEN,
        "closed": actions.closed,
        "exports": [
            {"kind": kind, "words": words, "precisions": PRECISIONS.get(kind, ())} for kind, words in KINDS.items()
        ],
    }

    def may(_: Answer, request: gr.Request) -> Answer:
        return {"train": may_train(request)}

    functions = [answered(may), *(answered(work) for work in calls(actions))]
    mount("LoraLens.mountTrain(element, props, server)", "ll-train", functions, form=fields)


def calls(actions: Actions) -> list[Callable[[Answer], Answer]]:
    """All that the page's script calls."""
    return [*forming(actions), *queueing(actions), *watching(actions), *taking(actions)]


def forming(actions: Actions) -> list[Callable[[Answer], Answer]]:
    """What the form calls."""

    def check(sent: Answer) -> Answer:
        preset, overrides = asked_run(sent)
        wrong = form.problems(preset, overrides)
        told: Answer = {"errors": wrong, "command": form.command(preset, overrides), "summary": ""}
        if not wrong:
            config = form.goes_on(presets.configure(preset, overrides))
            told["summary"], told["warning"] = form.summary(config), form.warning(config)
            told["estimate"] = actions.estimator.words(config)
            told["measuring"] = estimate.measuring() is not None
            if not told["estimate"] and not told["measuring"]:
                told["unmeasured"] = form.without_folders(estimate.failure(config))
        return told

    def calibrate(sent: Answer) -> Answer:
        actions.calibrate(*asked_run(sent))
        return {}

    def preview(sent: Answer) -> Answer:
        preset, overrides = asked_run(sent)
        config = form.goes_on(presets.configure(preset, overrides))
        try:
            return helper_process.ask("tuning.views.preview", presets.to_dict(config), PREVIEW_SECONDS)
        except UserError as error:
            raise UserError(form.without_folders(str(error))) from error

    def sources(_: Answer) -> Answer:
        return {"uploads": uploads.names(), **tables.offered()}

    def keep_upload(sent: Answer) -> Answer:
        kept = uploads.keep(Path(text(sent, "path")), Path(gradio_uploads()))
        return {"data": str(kept)}

    def start(sent: Answer) -> Answer:
        return {"run": actions.start(*asked_run(sent), name=text(sent, "name")).name}

    return [check, start, calibrate, preview, sources, keep_upload]


def queueing(actions: Actions) -> list[Callable[[Answer], Answer]]:
    """What the queue and a run's notes call."""

    def enqueue(sent: Answer) -> Answer:
        preset, overrides = asked_run(sent)
        return {"waiting": actions.enqueue(preset, overrides, text(sent, "name"), text(sent, "grid"))}

    def waiting(_: Answer) -> Answer:
        found = queue.load()
        return {
            "waiting": [
                {"name": plan.name, "words": run_table.words({**plan.overrides}) or f"as {plan.preset} has it"}
                for plan in found.waiting
            ],
            "paused": found.paused,
            "problems": [form.without_folders(problem) for problem in found.problems],
        }

    def drop(sent: Answer) -> Answer:
        place = sent.get("place")
        queue.remove(place if isinstance(place, int) else -1, text(sent, "name"))
        return {}

    def pause(sent: Answer) -> Answer:
        queue.pause(sent.get("on") is True)
        return {}

    def dismiss(_: Answer) -> Answer:
        queue.dismiss()
        return {}

    def note(sent: Answer) -> Answer:
        set_notes(actions.watcher.named(text(sent, "run")), text(sent, "notes"))
        return {}

    return [enqueue, waiting, drop, pause, dismiss, note]


def watching(actions: Actions) -> list[Callable[[Answer], Answer]]:
    """What the run on show and the history call."""
    watcher: Watcher = actions.watcher

    def look(sent: Answer) -> Answer:
        seen = sent.get("seen")
        view = watcher.look(text(sent, "run") or None, seen if isinstance(seen, dict) else {})
        if view["run"]:
            shown = watcher.named(view["run"])
            view["export"] = actions.exports.told(shown) | {"made": actions.exports.made(shown)}
            view["after_votes"] = actions.after_votes(view["run"])
            view["can"]["resume"] = view["can"]["resume"] and not actions.closed
            if view["can"]["use"] and (reason := actions.not_comparable(view["run"])):
                view["can"]["use"], view["other_base"] = False, reason
        return view

    def runs(_: Answer) -> Answer:
        rows = [
            row | {"adapter": bool(row["adapter"]) and not actions.not_comparable(row["run"])}
            for row in watcher.history()
        ]
        return {"runs": rows, "comparing": actions.comparing()}

    def curves(sent: Answer) -> Answer:
        names = sent.get("runs")
        return {"curves": watcher.curves([name for name in names if isinstance(name, str)] if names else [])}

    def stop(sent: Answer) -> Answer:
        actions.stop(text(sent, "run"))
        return {}

    def resume(sent: Answer) -> Answer:
        return {"run": actions.resume(text(sent, "run")).name}

    def delete(sent: Answer) -> Answer:
        actions.delete(text(sent, "run"))
        return {}

    return [look, runs, curves, stop, resume, delete]


def taking(actions: Actions) -> list[Callable[[Answer], Answer]]:
    """What is called to use a run's adapter, here and elsewhere."""
    watcher = actions.watcher

    def use(sent: Answer) -> Answer:
        return {"adapter": actions.use(text(sent, "run"), text(sent, "against"))}

    def blind_round(sent: Answer) -> Answer:
        return actions.blind_round(text(sent, "run"))

    def use_checkpoint(sent: Answer) -> Answer:
        step = sent.get("step")
        return {"adapter": actions.use_checkpoint(text(sent, "run"), step if isinstance(step, int) else -1)}

    def take_adapter(sent: Answer) -> Answer:
        offset = sent.get("offset")
        return actions.exports.part(watcher.named(text(sent, "run")), offset if isinstance(offset, int) else 0)

    def merge(sent: Answer) -> Answer:
        actions.exports.merge(watcher.named(text(sent, "run")))
        return {}

    def push(sent: Answer) -> Answer:
        private = sent.get("private") is not False
        run, repository = watcher.named(text(sent, "run")), text(sent, "repository").strip()
        actions.exports.push(run, repository, private, text(sent, "what"))
        return {}

    def export(sent: Answer) -> Answer:
        actions.exports.export(watcher.named(text(sent, "run")), text(sent, "kind"), text(sent, "precision"))
        return {}

    def stop_export(sent: Answer) -> Answer:
        actions.exports.stop(watcher.named(text(sent, "run")))
        return {}

    return [use, blind_round, use_checkpoint, take_adapter, merge, push, export, stop_export]


def asked_run(sent: Answer) -> tuple[str, dict[str, Any]]:
    """Preset and overrides from what the form sent. Raises UserError for an unknown preset."""
    preset, values = text(sent, "preset"), sent.get("values")
    known = {field.name for field in form.FIELDS} | {"data"}
    kept = {name: value for name, value in values.items() if name in known} if isinstance(values, dict) else {}
    return preset, form.overrides_of(preset, kept)
