"""The page's named endpoints for training, for scripts: ``/start_training``, ``/training_events``, ``/stop_training``,
``/runs``, ``/use_adapter``, ``/export_run`` and ``/exports``."""

import time
from collections.abc import Iterator
from typing import Any

from tuning.errors import UserError
from tuning.runs import lock
from tuning.shared_tab import add_endpoint
from tuning.views.actions import Actions
from tuning.views.form import without_folders

WATCHING_AT_ONCE = 16
LOOK_SECONDS = 0.2
HEARTBEAT_SECONDS = 5.0
CHUNK_BYTES = 1 << 18


def build(actions: Actions) -> None:
    """Adds the endpoints to the current ``gr.Blocks``; they share the page's queue and its rules."""
    watcher = actions.watcher

    def start_training(preset: str, overrides: dict[str, Any] | None = None) -> str:
        """Starts a training run in a process of its own, which goes on whoever comes and goes.

        Args:
            preset: 'smoke', 'quick', 'starter', 'json', 'sql', 'python-300' or 'python-3000'.
            overrides: settings that replace the preset's, by the names of the command line's options with
                underscores, such as {"max_steps": 20, "data": "python_qa"}.

        Returns:
            The run's id.
        """
        if not isinstance(overrides, dict | None):
            raise UserError('The overrides are an object, such as {"max_steps": 20}.')
        return actions.start(preset, overrides or {}).name

    def training_events(run: str, offset: int = 0) -> Iterator[dict[str, Any]]:
        """Streams a run's events from its beginning, or from an offset, until its process has ended.

        Args:
            run: the run's id.
            offset: where to go on: the offset of the last object that was received.

        Returns:
            One object each time something has happened, and every few seconds where nothing has: events (a list, in
            order; each has 'event' and 'time'), offset, and state ('running', 'finished', 'stopped' or 'failed').
        """
        chosen = watcher.named(run)
        told = time.monotonic()
        while True:
            working = chosen.working()
            news, following = chosen.follow(offset, CHUNK_BYTES)
            if news or not working or time.monotonic() - told > HEARTBEAT_SECONDS:
                told = time.monotonic()
                ended = not working and not news
                state = chosen.state().state if ended else "running"
                yield {"events": [tidy(event) for event in news], "offset": following, "state": state}
                if ended:
                    return
            offset = following
            if not news:
                time.sleep(LOOK_SECONDS)

    def stop_training(run: str = "") -> str:
        """Lets a run save and end; it can be resumed.

        Args:
            run: the run's id; empty for the one that trains now.

        Returns:
            The run's id.
        """
        training = lock.current()
        name = run or (training.name if training is not None else "")
        if not name:
            raise UserError("No run is training.")
        actions.stop(name)
        return name

    def runs() -> list[dict[str, Any]]:
        """All runs on this machine, newest first, each with its state and results.

        Returns:
            One object for each with run (its id), preset, model, data, steps, best (validation loss), took, began,
            state and adapter (whether it has one that can be used).
        """
        return watcher.history()

    def use_adapter(run: str, against: str = "") -> dict[str, Any] | None:
        """Puts a run's best adapter on the tuned side of all comparisons, without a restart.

        Args:
            run: the run's id, or 'starter' for the starter adapter.
            against: another run's id, or 'starter', to stand in for the base model; empty for the base model itself.

        Returns:
            What is known of the adapter: name, base, rank, alpha, target_modules, steps, loss_before and loss_after.
        """
        return actions.use(run, against)

    def export_run(run: str, kind: str, precision: str = "") -> str:
        """Begins to write a run's best adapter for use elsewhere, and to check what was written; /exports tells of it.

        Args:
            run: the run's id.
            kind: 'adapter', 'merged', 'gguf', 'lora-gguf', 'ollama', 'vllm' or 'mlx'.
            precision: such as 'bf16' for merged or 'Q8_0' for gguf; empty for the usual one.

        Returns:
            What the export is called in the data folder.
        """
        return actions.exports.export(watcher.named(run), kind, precision)

    def exports(run: str) -> dict[str, Any]:
        """How a run's exports stand: what is being written, and what was, with its certificate.

        Args:
            run: the run's id.

        Returns:
            state ('working', 'done', 'stopped', 'failed', or '' where none was begun), words, and made: a list of name,
            place, and the certificate's colour ('green', 'yellow' or 'red') and sentence.
        """
        chosen = watcher.named(run)
        return {"state": "", "words": "", **actions.exports.told(chosen), "made": actions.exports.made(chosen)}

    add_endpoint(training_events, concurrency_limit=WATCHING_AT_ONCE)
    for answer_at_once in (start_training, stop_training, runs, export_run, exports):
        add_endpoint(answer_at_once, queue=False)
    add_endpoint(use_adapter)


def tidy(event: dict[str, Any]) -> dict[str, Any]:
    """An event without the places of things on this machine. Nor is anything called "path", as a checkpoint was in
    older runs: gradio's client takes an object that has one for a file, and fails to fetch it."""
    if event["event"] == "sample":
        return event
    named = {"checkpoint" if key == "path" else key: value for key, value in event.items()}
    return {key: without_folders(value) if isinstance(value, str) else value for key, value in named.items()}
