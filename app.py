"""LoRA Lens: ``python app.py`` opens the page; ``python app.py --help`` lists the settings."""

from __future__ import annotations

import logging
import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"  # else 10,000 calls are kept for a page that is off here

import space_config.server.gradio_import  # noqa: F401 - before gradio: see there

# isort: split
import gradio as gr
from fastapi import FastAPI

from eval_prompts.learning import page as learning
from eval_prompts.learning.blind_round import blind_round
from eval_prompts.opening import open_tab
from eval_prompts.opening.opener import Opener
from eval_prompts.scoring.in_app.scorings import Scorings
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.readings import Readings
from eval_prompts.showing.shown_pairs import ShownPairs
from eval_prompts.showing.strength_columns import StrengthColumns
from eval_prompts.showing.visitors import Visitors
from eval_prompts.surveys import survey_tab
from eval_prompts.surveys.surveys import Surveys
from eval_prompts.tabs import compare_tab, lens_tab, results_tab, score_tab, task_endpoints_tab
from eval_prompts.tabs import endpoints_tab as asking_endpoints
from eval_prompts.tabs import score_endpoints_tab as scoring_endpoints
from eval_prompts.tasks.choice import TaskChoice
from eval_prompts.votes.whole import export_whole
from space_config.server import gradio_patches, logs, malloc, share, shutdown
from space_config.server.calls import Names
from space_config.server.disk import Disk
from space_config.server.gradio_patches import GuardedBlocks, owns
from space_config.server.guard import Guard
from space_config.server.headers import Policy
from space_config.server.server import Server, address, listen
from space_config.settings import Settings, read_settings
from space_config.space import hardware
from space_config.space.mirror import begin_mirror
from space_config.variables import unread
from tuning import endpoints_tab as training_endpoints
from tuning import tab as train_tab
from tuning.errors import UserError
from tuning.files import data_root
from tuning.views.actions import Actions
from tuning.views.run_view import Watcher

log = logging.getLogger(__name__)

MAX_THREADS = 96
MAX_QUEUE = 128
KEEP_UPLOADS = (3600, 86400)
"""Every hour, what was uploaded more than a day ago is deleted (seconds)."""


def build_page(
    lens: Lens,
    pairs: ShownPairs,
    upload_mb: int = 20,
    notice: str = "",
    no_training: str = "",
    tasks: TaskChoice | None = None,
    results_for_all: bool = True,
    no_opening: str = "",
) -> gr.Blocks:
    """The whole page; each tab adds itself. ``upload_mb`` is the largest file that is taken, in MiB; ``notice``
    is a line for everyone, such as what is lost on a restart; ``no_training`` says why nobody can train, if so;
    ``tasks`` holds what is asked, else it is the five probes; unless ``results_for_all``, the results are the owner's;
    ``no_opening`` says why other models cannot be opened here, if so.
    """
    tasks = tasks or TaskChoice()
    visitors = Visitors()
    readings = Readings(lens)
    pairs.likelihoods = readings.likelihoods
    seen = lens_tab.LensFunctions(lens, readings, pairs, tasks, owns)
    columns, surveys = StrengthColumns(lens), Surveys(lens, lambda: tasks.task, pairs.jail)
    measured = survey_tab.SurveyFunctions(seen, columns, surveys, owns)
    watcher = Watcher()
    scorings = Scorings(lens, pairs.jail, lambda: tasks.task, pairs.preferred, pairs.votes_on)
    opener = Opener(lens, lambda: opening_waits(scorings, surveys), no_opening)
    training = Actions(
        watcher,
        lambda adapter, against: use_adapter(lens, adapter, against),
        lambda: comparing(lens),
        closed=no_training,
        base=lambda: lens.status().model,
        blind=blind_round,
        people=lambda run: learning.preferred_after(run, pairs),
    )

    def forget(request: gr.Request) -> None:
        """A tab that is closed or reloaded: nobody reads its answers any more."""
        visitors.stop(request.session_hash)

    with GuardedBlocks(title="LoRA Lens", fill_width=True, delete_cache=KEEP_UPLOADS) as page:
        functions: list[Callable[..., Any]] = [*seen.of_adapters, learning.evidence_of(lens, tasks)]
        compare_tab.build_header(lens, lambda: working(watcher, scorings, surveys, lens), owns, tasks, functions)
        if notice:
            gr.Markdown(notice, elem_id="ll-notice")
        with gr.Tabs(elem_id="ll-tabs"):
            with gr.Tab("Compare"):
                open_tab.build(opener)
                compare_tab.build(page, lens, visitors, pairs, tasks, owns, seen.of_texts)
            with gr.Tab("Score", elem_id="ll-tab-score"):
                score_tab.build(
                    scorings,
                    owns,
                    results_for_all,
                    lambda scoring: learning.train_on_passing(scoring, lens, scorings, training),
                )
            with gr.Tab("Lens", elem_id="ll-tab-lens"):
                lens_tab.build(seen, measured.of_page)
            with gr.Tab("Train", elem_id="ll-tab-train"):
                train_tab.build(training, upload_mb, owns)
            with gr.Tab("Results"):
                results_tab.build(
                    pairs,
                    owns,
                    results_for_all,
                    lambda found: learning.train_on_votes(found, lens, training),
                    scorings.latest,
                )
        asking_endpoints.build(lens, visitors, pairs, tasks, owns, results_for_all)
        lens_tab.build_endpoints(seen, readings, owns)
        survey_tab.build_endpoints(measured, seen, columns, surveys)
        task_endpoints_tab.build(lens, tasks, owns)
        open_tab.build_endpoints(opener)
        training_endpoints.build(training)
        scoring_endpoints.build(scorings, owns, results_for_all)
        page.unload(forget)
    page.queue(max_size=MAX_QUEUE)
    gradio_patches.apply(page)
    whole: gr.Blocks = page
    return whole


def use_adapter(lens: Lens, adapter: str | None, against: str | None) -> dict[str, Any] | None:
    """Puts an adapter, perhaps against another, on the Compare tab. Raises UserError if one cannot be used."""
    card = lens.reload(adapter, against)
    return card.to_dict() if card else None


def comparing(lens: Lens) -> str:
    """Who answers on the Compare tab, in words; '' where nobody does yet."""
    status = lens.status()
    if status.state != "ready":
        return ""
    names = [card.name if card else "the base model" for card in (status.adapter, status.against)]
    return " against ".join(names)


def working(watcher: Watcher, scorings: Scorings, surveys: Surveys, lens: Lens) -> str:
    """What else the machine works on, in words; '' for nothing."""
    opening = "opening other models" if lens.opening else ""
    return " · ".join(filter(None, (watcher.training_words(), scorings.words(), surveys.words(), opening)))


def opening_waits(scorings: Scorings, surveys: Surveys) -> str:
    """Why no other models may be opened right now, in words; '' where they may."""
    if surveys.words():
        return "A survey on the Lens tab reads the models that are loaded: stop it, or wait for its end."
    runner = scorings.working
    if runner is None:
        return ""
    return f"The scoring {runner.scoring.name} asks the models that are loaded: stop it, or wait for its end."


def theme() -> gr.themes.Base:
    """Neutral colours, so that the accents keep their meaning, and fonts that gradio serves itself."""
    quiet = {"block_info_text_color": "*neutral_500", "input_placeholder_color": "*neutral_500"}
    return gr.themes.Base(
        primary_hue="zinc",
        neutral_hue="zinc",
        font=(gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
    ).set(**quiet, **{f"{name}_dark": "*neutral_400" for name in quiet})


def names(page: gr.Blocks) -> Names:
    """What the page's functions are called, for the table of roles."""
    functions = {number: str(function.api_name) for number, function in page.fns.items() if function.fn is not None}
    return Names(functions, {number: str(block.elem_id) for number, block in page.blocks.items()})


def server_status(lens: Lens, tasks: TaskChoice) -> dict[str, Any]:
    """What ``GET /status`` tells those who watch the server, with the page's own notes on what is asked."""
    status = tasks.noted(lens.status()).to_dict()
    return {"ready": status["state"] == "ready", "loading": status["state"] == "loading", **status}


def guarded(page: gr.Blocks, lens: Lens, tasks: TaskChoice, settings: Settings, shared: str) -> Guard:
    """The page as a web app behind its guard. ``shared`` is the address to give to others, which the owner is shown."""
    page.is_running, page.max_threads = True, MAX_THREADS
    head = compare_tab.head() + score_tab.head() + train_tab.head()
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        "/",
        show_error=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        blocked_paths=[str(data_root().absolute())],
        max_file_size=f"{settings.upload_mb}mb",
        theme=theme(),
        head=head,
        favicon_path=str(compare_tab.PAGE_FOLDER / "favicon.svg"),
    )
    owner = settings.owner()
    owner.shared = shared
    return Guard(
        app,
        owner=owner,
        policy=Policy(head, ("https://huggingface.co",) if settings.on_space else ()),
        limits=settings.limits(),
        names=names(page),
        status=lambda: server_status(lens, tasks),
        disk_problem=Disk(data_root(), settings.data_gb * 2**30, settings.free_disk_mb * 2**20).problem,
        hosts=settings.hosts(),
        trust_proxy=settings.behind_proxy,
    )


def announce(lens: Lens, pairs: ShownPairs) -> None:
    """Prints, once the models are loaded or refused, where the weights came from or what to do; and what is wrong with
    the ratings database, if anything is."""
    try:
        lens.wait_ready()
    except UserError as error:
        logs.tell(str(error), failed=True)
    else:
        status = lens.status()
        logs.tell(f"{status.model} is ready on {status.device}; weights from {status.origin}")
    try:
        pairs.ratings.contests()
    except UserError as error:
        logs.tell(str(error), failed=True)


def main(arguments: list[str] | None = None) -> int:
    """Serves the page until SIGINT or SIGTERM. Returns the exit code: 0, 2 for a setting to mend, or 1 if the web
    server ended by itself."""
    asked_to_end = shutdown.Signals()
    malloc.share_arenas()
    try:
        profile = hardware.detect(os.environ)
        hardware.apply(profile, os.environ)
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
        logs.set_up(settings.log_format, settings.log_level)
        for told in filter(None, (*unread(os.environ, Settings.model_fields), settings.without_effect())):
            log.warning("%s", told)
        task = settings.chosen_task()
        lens = settings.lens(task)
        always_blind = settings.blind == "always"
        pairs = ShownPairs(settings.ratings_url(), settings.comment_characters, settings.jail_allowed(), always_blind)
        notice = f"{profile.notice}\n\n{settings.invitation()}".strip()
        tasks, for_all = TaskChoice(task), settings.results == "all"
        closed = settings.no_training(), settings.no_opening()
        page = build_page(lens, pairs, settings.upload_mb, notice, closed[0], tasks, for_all, closed[1])
        listening = listen(settings.host, settings.port)
        shared = share.address(settings.host, listening.getsockname()[1])
        guard = guarded(page, lens, tasks, settings, shared)
        server = Server(guard, listening, settings.open_connections(), on_death=asked_to_end.server_gone)
        page.server = server.web  # type: ignore[assignment]  # ZeroGPU's processes close the connections they inherit, by the port told there
        server.start()
    except UserError as error:
        logs.tell(str(error), failed=True)
        return 2
    url = address(listening)
    logs.tell(f"Running on {profile.words}. {settings.who_owns()}")
    logs.tell(f"LoRA Lens is at {url}")
    if shared:
        logs.tell(f"Others on your network reach it at {shared}")
        if sys.stdout.isatty():
            print(share.code_for_terminal(shared))
    if settings.open_browser:
        webbrowser.open(url)
    mirror = begin_mirror(settings.mirror_votes, lambda: export_whole(pairs.ratings.votes(whole=None), "jsonl")[0])
    lens.start()
    threading.Thread(target=announce, args=(lens, pairs), daemon=True).start()
    number = asked_to_end.wait()
    if number == shutdown.SERVER_GONE:
        logs.tell("The web server has ended unexpectedly, and its log says why: start the app again.", failed=True)
    exit_code = 1 if number == shutdown.SERVER_GONE else 0
    loading = lens.status().state == "loading" or lens.opening
    shutdown.end_work(number, lens, guard, settings.drain_seconds, settings.stop_training)
    if loading:
        os._exit(
            exit_code
        )  # a load cannot be interrupted, only left; half-written caches are never taken for whole ones
    server.stop()
    if mirror is not None:
        mirror.close()
    pairs.close()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
