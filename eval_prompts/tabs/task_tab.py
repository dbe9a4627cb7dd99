"""The Compare tab's task picker, the drawer in which the owner writes a task, and what was asked: pages and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder as gradio_uploads

from eval_prompts.asking import read_portion
from eval_prompts.tasks import catalogue, editing, uploaded
from eval_prompts.tasks.choice import AT_ONCE, look_up
from eval_prompts.tasks.export import dump_task, taken_away
from eval_prompts.tasks.files import parse_task
from eval_prompts.tasks.held_out import SPLITS, held_out
from eval_prompts.tasks.of_adapter import default_task, is_made_for
from eval_prompts.tasks.scorers.likelihood import UNREAD
from eval_prompts.tasks.verdicts import judge_answer
from tuning.data.chat import Message
from tuning.data.place import EMBEDDED_SETS
from tuning.data.thinking import without_thinking
from tuning.errors import UserError
from tuning.ingest import tables
from tuning.runs.run import Run, all_runs, runs_root
from tuning.shared_tab import Answer, IsOwner, answered, mount, text
from tuning.views import form as form_words
from tuning.views import uploads

if TYPE_CHECKING:
    from eval_prompts.models.pair import Side
    from eval_prompts.serving.lens import Lens
    from eval_prompts.showing.asked import AskedBefore
    from eval_prompts.showing.shown_pairs import ShownPairs
    from eval_prompts.tasks.choice import TaskChoice
    from eval_prompts.tasks.task import Question, Task

ADAPTERS_PROMPT = "Python probes in the adapter's prompt"
UNKNOWN_ANSWER = "\u2026"
OWN_ANSWERS = "Each side goes on from its own answers; references, or \u2026, stand here for them."
LONGEST_ANSWER = 100_000
LONGEST_SEARCH = 200
Work = Callable[[Answer, gr.Request], Answer]


def build(lens: Lens, tasks: TaskChoice, is_owner: IsOwner) -> None:
    """The picker, inside the bar that asks."""
    functions = [*choosing(lens, tasks, is_owner), *writing(lens), *keeping(lens, tasks), *filling()]
    mount(
        "LoraLens.mountTasks(element, props, server)",
        "ll-tasks",
        [answered(function) for function in functions],
        scorers=editing.scorer_list(),
        settings=tasks.task.settings.to_dict(),
        count=len(tasks.task.questions),
    )


def choosing(lens: Lens, tasks: TaskChoice, is_owner: IsOwner) -> list[Work]:
    """What visitors call too: which tasks there are, and their questions."""

    def listed(_: Answer, request: gr.Request) -> Answer:
        owner = is_owner(request)
        status = lens.status()
        card = status.adapter
        rows = tasks.listed(owner, card)
        if tasks.chosen is None:
            usual, note = default_task(card)
            default = catalogue.summary(usual) | {"title": ADAPTERS_PROMPT if note else usual.words}
            rows = [row for row in rows if note or row["name"] != usual.name]
        else:
            default = catalogue.summary(tasks.chosen) | {"fits": is_made_for(card, tasks.chosen)}
            rows = [row for row in rows if row["name"] != tasks.chosen.name]
        for row in (default, *rows):
            row["notes"] += [] if row["system"] else status.without_system
        told: Answer = {"default": default, "tasks": rows, "owner": owner, "problems": [], "size": AT_ONCE}
        told["ready"] = status.state == "ready"
        if owner:
            told["problems"] = catalogue.all_tasks()[1]
            told["run"] = run_of(lens)
        return told

    def questions(sent: Answer, request: gr.Request) -> Answer:
        name, page = text(sent, "task"), sent.get("page")
        task = tasks.named(name, is_owner(request))
        if not name and tasks.chosen is None:
            task = default_task(lens.status().adapter)[0]
        found = look_up(task, page if isinstance(page, int) else 1, text(sent, "find")[:LONGEST_SEARCH])
        return found.to_dict() | {"all": len(task.questions)}

    return [listed, questions]


def run_of(lens: Lens) -> Answer | None:
    """The run that made the adapter in use, if it was made here: its held-out rows are its questions."""
    card = lens.status().adapter
    if card is None:
        return None
    folder = next((path for path in (card.path, card.path.parent) if (path / "config.json").is_file()), None)
    if folder is None or folder.parent.absolute() != runs_root().absolute():
        return None
    try:
        return {"name": folder.name, "data": Path(Run(folder).config().data).name}
    except UserError:
        return None


def writing(lens: Lens) -> list[Work]:
    """What the form calls while a task is written: what is wrong, what would be asked, what a scorer would say."""

    def look(sent: Answer, _: gr.Request) -> Answer:
        draft = editing.read_draft(sent)
        told = editing.told(draft)
        if draft.shown is not None:
            told["prompt"] = preview(lens, draft.shown, sent.get("number"))
        return told

    def form(sent: Answer, _: gr.Request) -> Answer:
        return {"form": editing.form_of(catalogue.find_task(text(sent, "task")))}

    def score(sent: Answer, _: gr.Request) -> Answer:
        given = sent.get("draft")
        draft = editing.read_draft(given if isinstance(given, dict) else {})
        wrong = [words for name, words in draft.problems.items() if name != "name"]
        if draft.shown is None or wrong:
            raise UserError(wrong[0])
        answer = without_thinking(text(sent, "answer")[:LONGEST_ANSWER])
        question = draft.shown.questions[place_of(draft.shown, sent.get("number"))]
        found = judge_answer(draft.shown, question, answer, True)
        found = replace(found, scores=tuple(score for score in found.scores if score.reason != UNREAD))
        scores = [*(each.to_dict() for each in found.scores), *read_scores(lens, draft.shown, question)]
        return {"scores": scores, "verdict": found.task, "score": found.score}

    return [look, form, score]


def read_scores(lens: Lens, task: Task, question: Question) -> list[Answer]:
    """What scorers that go by likelihoods say of a question, side by side."""
    if not task.wanted(question):
        return []
    status = lens.status()
    sides: tuple[Side, ...] = ("base",) if status.state == "ready" and status.adapter is None else ("base", "tuned")
    alone = replace(task, scorers=tuple(scorer for scorer in task.scorers if scorer.reads))
    asked = replace(question, checks=tuple(scorer for scorer in question.checks if scorer.reads))
    told: list[Answer] = []
    for (side, _), (known, unread) in read_portion(lens, task, [question], sides).items():
        found = judge_answer(alone, asked, "", read=known, unread=unread)
        told += [score.to_dict() | {"side": side} for score in found.scores]
    return told


def place_of(task: Task, number: Any) -> int:
    """A question's place from a number that a script sent."""
    return min(max(0, number if isinstance(number, int) else 0), len(task.questions) - 1)


def preview(lens: Lens, task: Task, number: Any) -> Answer:
    """The exact prompt of one question: its turns, and its tokens where the models are in this process and loaded."""
    at = place_of(task, number)
    question = task.questions[at]
    messages, stands_in = shown_prompt(task, question)
    told: Answer = {
        "number": at,
        "turns": [dict(turn) for turn in messages],
        "references": list(question.references),
        "tokens": [],
        "note": "",
    }
    try:
        told["tokens"], told["note"] = tokens_of(lens, messages)
    except UserError as error:
        told["note"] = str(error)
    told["note"] = " ".join(filter(None, [told["note"], OWN_ANSWERS if stands_in else ""]))
    return told


def shown_prompt(task: Task, question: Question) -> tuple[tuple[Message, ...], bool]:
    """A question's prompt, and whether something stands in it for answers that nobody has given yet. Raises UserError
    for one that cannot be asked."""
    before = task.find(question.after)
    if before is None:
        return task.prompt(question).messages, False
    said = before.references[0] if before.references else UNKNOWN_ANSWER
    asked = question.messages or (Message(role="user", content=question.text),)
    return (*shown_prompt(task, before)[0], Message(role="assistant", content=said), *asked), True


def tokens_of(lens: Lens, messages: Sequence[Message]) -> tuple[list[str], str]:
    """The tokens of a conversation as it goes to the base side, each as its characters, and a remark where the tuned
    side reads others. Raises UserError while no pair is loaded, where the models are on other machines, and for a
    broken template."""
    from eval_prompts.lens.token_lens import pieces_of
    from tuning.data.chat import encode_messages

    pair = lens.pair
    if pair is None:
        raise UserError("The tokens are shown once the models are loaded in this process.")
    ids = encode_messages(pair.tokenizer, messages)
    tuned = pair.tokenizers.get("tuned", pair.tokenizer)
    same = tuned is pair.tokenizer or encode_messages(tuned, messages) == ids
    return pieces_of(pair.tokenizer, ids), "" if same else "The tuned side has its own template or tokenizer."


def keeping(lens: Lens, tasks: TaskChoice) -> list[Work]:
    """What writes: tasks are saved, removed, shared and brought from a file; the owner chooses what all are asked, and
    which adapter answers."""

    def save(sent: Answer, _: gr.Request) -> Answer:
        draft = editing.read_draft(sent)
        if draft.task is None:
            return {"problems": draft.problems, "error": next(iter(draft.problems.values()))}
        original = text(sent, "original")
        catalogue.save_task(draft.task)
        if original and original != draft.task.name:
            catalogue.delete_task(original)
        if tasks.chosen is not None and tasks.chosen.name in (original, draft.task.name):
            tasks.use(draft.task.name)
        return {"task": draft.task.name}

    def remove(sent: Answer, _: gr.Request) -> Answer:
        name = text(sent, "task")
        catalogue.delete_task(name)
        if tasks.chosen is not None and tasks.chosen.name == name:
            tasks.reset()
        return {}

    def export(sent: Answer, _: gr.Request) -> Answer:
        task = catalogue.find_task(text(sent, "task"))
        return {"name": f"{task.name}.yaml", "text": dump_task(task), "remarks": taken_away(task)[1]}

    def bring(sent: Answer, _: gr.Request) -> Answer:
        place = Path(text(sent, "path"))
        content = uploaded.received(place, Path(gradio_uploads()))
        task = parse_task(content, place.name)
        if task.name in catalogue.own_files():
            raise UserError(
                f"There is a task {task.name} already: rename the one in {place.name}, or remove the other."
            )
        catalogue.save_task(task)
        return {"task": task.name}

    def use(sent: Answer, _: gr.Request) -> Answer:
        name = text(sent, "task")
        return {"task": tasks.use(name)} if name else {"task": tasks.reset()}

    def use_adapter(sent: Answer, _: gr.Request) -> Answer:
        task = catalogue.find_task(text(sent, "task")) if text(sent, "task") else tasks.task
        if not task.adapter:
            raise UserError(f"The task {task.name} names no adapter that was made for it.")
        card = lens.reload(task.adapter)
        return {"adapter": card.name if card else ""}

    return [save, remove, export, bring, use, use_adapter]


def filling() -> list[Work]:
    """Where a task's questions come from: a file that was uploaded or pasted, and the held-out rows of data."""

    def take_file(sent: Answer, _: gr.Request) -> Answer:
        return {"file": uploaded.keep(Path(text(sent, "path")), Path(gradio_uploads()))}

    def sources(_: Answer, __: gr.Request) -> Answer:
        found = tables.offered()
        runs = [run for run in all_runs() if readable(run)]
        rows = [{"run": run.name, "label": run.name, "about": f"run on {run.state().data}"} for run in runs]
        rows += [{"source": name, "label": name, "about": "embedded"} for name in EMBEDDED_SETS]
        rows += [{"source": table["name"], "label": table["table"], "about": "table"} for table in found["tables"]]
        rows += [{"source": path, "label": Path(path).name, "about": "uploaded"} for path in uploads.names()]
        return {"sources": rows, "splits": list(SPLITS), "unread": found.get("unread", "")}

    def take_rows(sent: Answer, _: gr.Request) -> Answer:
        run, split = text(sent, "run"), text(sent, "split") or "test"
        config = Run(runs_root() / Path(run).name).config() if run else None
        source = config.data if config else text(sent, "source")
        try:
            found = held_out(source, split, config)  # type: ignore[arg-type]  # checked there
        except UserError as error:
            raise UserError(form_words.without_folders(str(error))) from error
        name = Path(run or source.partition("?")[0]).stem or "data"
        return {
            "file": uploaded.keep_rows(found.rows, f"{name}-{split}"),
            "count": len(found.rows),
            "system": found.format.system or "",
            "user": found.format.user or "",
            "name": catalogue.free_name(f"{name}-held-out"),
            "tests": any("tests" in row for row in found.rows),
            "notes": found.notes,
        }

    return [take_file, sources, take_rows]


def readable(run: Run) -> bool:
    """Whether a run's settings can be read."""
    try:
        run.config()
    except UserError:
        return False
    return True


def looking_back(
    before: AskedBefore, pairs: ShownPairs, is_owner: IsOwner
) -> list[Callable[[Any, gr.Request], Answer]]:
    """What the board calls: another page of what was asked, how it stands, and its report, which tells the owner of the
    votes, too."""

    def asked_page(sent: Answer, _: gr.Request) -> Answer:
        page = sent.get("page")
        return {**before.find(sent.get("id")).view(page if isinstance(page, int) else 1)}

    def asked_now(sent: Answer, _: gr.Request) -> Answer:
        page = sent.get("page")
        return {"asked": before.find(sent.get("id")).told(page if isinstance(page, int) else 1)}

    def report(sent: Answer, request: gr.Request) -> Answer:
        from eval_prompts.asked_report import report_of  # the page starts without it

        ratings = pairs.ratings if is_owner(request) else None
        return report_of(before.find(sent.get("id")), text(sent, "kind"), ratings)

    return [answered(function) for function in (asked_page, asked_now, report)]
