"""In which prompt a question goes out where nobody has chosen a task: the adapter's own, also if it loads later."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from eval_prompts.answers import Settings
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.tabs.task_tab import choosing
from eval_prompts.tasks.catalogue import find_task, python_task
from eval_prompts.tasks.choice import TaskChoice, page_of
from eval_prompts.tasks.of_adapter import UNKNOWN
from tests.conftest import WITH_OWN_SYSTEM_TEXT
from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT, PromptFormat
from tuning.models.weights import Choices

FEW = Settings(max_new_tokens=2)
OWN_FORMAT = PromptFormat("Answer in one word.", "Q: {question}")


@pytest.fixture
def adapter_with(tmp_path, tiny_adapter_path):
    """Copy the tiny adapter with a run record, or without one."""

    def make(name: str, record: dict | None) -> str:
        folder = shutil.copytree(tiny_adapter_path, tmp_path / name)
        if record is not None:
            (folder / "run_record.json").write_text(json.dumps({"name": name} | record))
        return str(folder)

    return make


def asked(lens: Lens, tasks: TaskChoice, text: str = "Why?", named: str = ""):
    task = tasks.named(named)
    prompts_for = tasks.prompts_for(task, [task.own_question(text)], named)
    return lens.ask([task.own_prompt(text)], FEW, prompts_for=prompts_for)


def system_of(stream) -> str | None:
    first = stream.questions[0].messages[0]
    return first["content"] if first["role"] == "system" else None


def in_format(format: PromptFormat, text: str = "Why?"):
    return format.messages({"question": text, "input": ""})


@pytest.mark.parametrize(
    ("record", "format"),
    [(None, PLAIN_FORMAT), ({"steps": 3}, PYTHON_FORMAT), ({"prompt_format": OWN_FORMAT.to_dict()}, OWN_FORMAT)],
)
@pytest.mark.parametrize("early", [True, False])
def test_the_adapters_own_prompt_is_used_though_it_is_asked_while_loading(
    tiny_model_path, adapter_with, record, format, early
):
    tasks = TaskChoice()
    with Lens(LocalLoader(str(tiny_model_path), adapter_with("mine", record), device="cpu")) as lens:
        if early:
            stream = asked(lens, tasks)
        lens.start()
        lens.wait_ready(60)
        if not early:
            stream = asked(lens, tasks)
        assert all(answer.done for answer in stream.result())
        reference = lens.ask(["Why?"], FEW, format=format)
        reference.result()
        explicit = asked(lens, tasks, named="python")
        explicit.result()
        rows = [(row.side, row.ids[: row.prompt_length]) for row in stream.rows]
    assert list(stream.questions[0].messages) == in_format(format)
    assert rows == [(row.side, row.ids[: row.prompt_length]) for row in reference.rows]
    assert list(explicit.questions[0].messages) == in_format(PYTHON_FORMAT)


def test_a_task_that_was_chosen_wins_also_the_python_task(tiny_model_path, adapter_with):
    with Lens(LocalLoader(str(tiny_model_path), adapter_with("mine", None), device="cpu")) as lens:
        lens.start()
        lens.wait_ready(60)
        chosen, later = TaskChoice(python_task()), TaskChoice()
        assert system_of(asked(lens, later)) is None
        later.use("python")
        for tasks in (chosen, later):
            assert system_of(asked(lens, tasks)) == PYTHON_FORMAT.system
            assert tasks.noted(lens.status()) == lens.status()


def test_the_page_says_in_which_prompt_an_adapter_from_elsewhere_is_asked(tiny_model_path, adapter_with):
    tasks = TaskChoice()
    with Lens(LocalLoader(str(tiny_model_path), adapter_with("foreign", None), device="cpu")) as lens:
        lens.start()
        lens.wait_ready(60)
        told = tasks.noted(lens.status())
        assert told.adapter.notes[-1] == UNKNOWN.format(noun="adapter", name="foreign")
        lens.reload(adapter_with("ours", {"steps": 3}))
        assert tasks.noted(lens.status()) == lens.status()
        lens.reload(adapter_with("own", {"prompt_format": OWN_FORMAT.to_dict()}), adapter_with("old", {"steps": 3}))
        both, own = tasks.noted(lens.status()).notes[-2:]
        assert "the adapter own; old was trained in another one" in both
        assert "own was trained in a prompt format of its own" in own
        lens.reload(None)
        assert tasks.noted(lens.status()) == lens.status()


def test_what_a_template_writes_without_a_system_text_is_said_of_tasks_that_have_none(
    tiny_model_path, adapter_with, tmp_path
):
    template = tmp_path / "own.jinja"
    template.write_text(WITH_OWN_SYSTEM_TEXT)
    other = replace(python_task(), name="bare", format=PLAIN_FORMAT)
    ours = adapter_with("ours", {"steps": 3})
    with Lens(LocalLoader(str(tiny_model_path), ours, device="cpu", choices=Choices(str(template)))) as lens:
        lens.start()
        lens.wait_ready(60)
        (said,) = lens.status().without_system
        assert "You are Bot." in said
        for task, expected in ((None, False), (python_task(), False), (other, True)):
            tasks = TaskChoice(task)
            assert (said in tasks.noted(lens.status()).notes) == expected
            listed = choosing(lens, tasks, lambda _: False)[0]({}, None)
            for row in (listed["default"], *listed["tasks"]):
                assert (said in row["notes"]) == (not row["system"]), row["name"]
            assert (said in listed["default"]["notes"]) == expected
        lens.reload(adapter_with("plain", {"prompt_format": PLAIN_FORMAT.to_dict()}))
        assert said in TaskChoice().noted(lens.status()).notes


def test_what_waits_when_the_adapter_is_swapped_is_put_to_the_new_one(tiny_model_path, adapter_with):
    tasks = TaskChoice()
    with Lens(LocalLoader(str(tiny_model_path), adapter_with("ours", {"steps": 3}), device="cpu")) as lens:
        lens.start()
        lens.wait_ready(60)
        blocking = lens.ask(["Long"] * 64, Settings(max_new_tokens=300))
        waiting = asked(lens, tasks)
        assert {row.state for row in waiting.rows} == {"waiting"}
        lens.reload(adapter_with("foreign", None))
        blocking.cancel()
        waiting.result()
        assert list(waiting.questions[0].messages) == in_format(PLAIN_FORMAT)
        expected = lens.ask(["Why?"], FEW, format=PLAIN_FORMAT)
        expected.result()
        assert [row.ids for row in waiting.rows] == [row.ids for row in expected.rows]


def test_the_probes_are_asked_in_a_format_whose_columns_they_lack(tiny_model_path, adapter_with):
    tasks, task = TaskChoice(), python_task()
    for name, user, expected in (
        ("more", "{question} [{level}]", f"{task.questions[0].text} []"),
        ("others", "{title}: {body}", task.questions[0].text),
    ):
        record = {"prompt_format": PromptFormat(None, user).to_dict()}
        with Lens(LocalLoader(str(tiny_model_path), adapter_with(name, record), device="cpu")) as lens:
            lens.start()
            lens.wait_ready(60)
            page = page_of(task)
            stream = lens.ask([task.prompt(one) for one in page], FEW, prompts_for=tasks.prompts_for(task, page))
            assert stream.questions[0].messages[-1]["content"] == expected
            assert len(stream.result()) == 10
            assert "for which the questions here have nothing" in tasks.noted(lens.status()).notes[-1]


def test_what_follows_a_task_that_is_gone_is_not_judged_by_the_one_in_use():
    tasks = TaskChoice(find_task("json"))
    assert tasks.remembered("json").name == "json"
    assert tasks.remembered("").name == "python"
    gone = tasks.remembered("capitals")
    assert (gone.name, gone.scorers) == ("plain", ())
