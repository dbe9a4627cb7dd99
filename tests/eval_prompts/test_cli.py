"""``python -m eval_prompts`` as a user runs it, in a process of its own where that tells more."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from eval_prompts.__main__ import main
from tests.conftest import WITH_OWN_SYSTEM_TEXT


def run(*arguments, data=None):
    command = [sys.executable, "-m", "eval_prompts", *map(str, arguments)]
    environment = os.environ | ({"LORA_LENS_DATA": str(data)} if data else {})
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL, env=environment
    )


def test_compare_writes_its_three_files(tmp_path, tiny_model_path, tiny_adapter_path):
    out = tmp_path / "out"
    done = run(
        "compare", "--model", tiny_model_path, "--adapter", tiny_adapter_path, "--out", out, "--max-new-tokens", 4
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["answers.json", "report.html", "report.md"]
    assert len(json.loads((out / "answers.json").read_text())["answers"]) == 10


def test_the_base_alone_needs_no_adapter(tiny_model_path):
    done = run(
        "ask", "Hello?", "--model", tiny_model_path, "--adapter", "/none", "--sides", "base", "--max-new-tokens", 3
    )
    assert done.returncode == 0, done.stderr
    assert "base" in done.stdout
    assert "tuned" not in done.stdout
    assert "Traceback" not in done.stderr
    assert "Loading weights" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", " "),
        ("ask", "x", "--temperature", "-1"),
        ("ask", "x", "--model", "/no/such/model"),
        ("ask", "x", "--adapter", "/no/such/adapter"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(tiny_model_path, tiny_adapter_path, arguments, capsys):
    defaults = ["--model", str(tiny_model_path), "--adapter", str(tiny_adapter_path)]
    assert main([arguments[0], *defaults, *arguments[1:]]) == 2
    said = capsys.readouterr().err
    assert said.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in said


def test_a_whole_model_is_asked_as_the_tuned_side(tiny_model_path, tmp_path, capsys):
    import shutil

    other = shutil.copytree(tiny_model_path, tmp_path / "fine-tuned")
    arguments = ["ask", "Hello?", "--model", tiny_model_path, "--tuned-model", other, "--max-new-tokens", 3]
    assert main([str(each) for each in arguments]) == 0
    told = capsys.readouterr()
    assert "── tuned ──" in told.out
    assert "model fine-tuned" in told.err
    assert "note on the model: It is the base model" in told.err
    assert main([str(each) for each in [*arguments, "--adapter", "starter"]]) == 2
    assert "not both" in capsys.readouterr().err


def test_what_a_template_writes_without_a_system_text_is_said_where_the_task_has_none(
    tiny_model_path, tiny_adapter_path, tmp_path, capsys
):
    (tmp_path / "own.jinja").write_text(WITH_OWN_SYSTEM_TEXT)
    pair = ["--model", str(tiny_model_path), "--adapter", str(tiny_adapter_path), "--max-new-tokens", "2"]
    for name, system in (("kind", "system: Be kind.\n"), ("bare", "")):
        task = tmp_path / f"{name}.yaml"
        task.write_text(f"{system}questions: ['Why?']\n")
        assert main(["ask", "Why?", *pair, "--chat-template", str(tmp_path / "own.jinja"), "--task", str(task)]) == 0
        assert ("You are Bot." in capsys.readouterr().err) == (not system)


def test_a_scoring_that_is_resumed_loads_the_whole_model_again():
    from argparse import Namespace

    from eval_prompts.__main__ import new_lens
    from eval_prompts.scoring.command import KEPT

    named = {"model": "owner/base", "tuned_model": "owner/tuned", "precision": "auto"}
    loader = new_lens(Namespace(sides="both", **{name: named.get(name) for name in KEPT})).loader
    assert (loader.model, loader.adapter, loader.tuned_model) == ("owner/base", None, "owner/tuned")


def test_score_asks_both_sides_and_writes_the_agreed_figures(tmp_path, tiny_model_path, tiny_adapter_path):
    questions = [
        {"task_id": n, "text": f"Add {n}.", "code": "", "test_list": [f"assert add({n}) == {n}"]} for n in range(3)
    ]
    suite, out = tmp_path / "suite.jsonl", tmp_path / "score.json"
    suite.write_text("".join(json.dumps(question) + "\n" for question in questions))
    done = run(
        *("score", "--model", tiny_model_path, "--adapter", tiny_adapter_path, "--max-new-tokens", 4),
        *("--suite", suite, "--limit", 2, "--out", out, "--fail-unless-better", "--junit", tmp_path / "junit.xml"),
        *("--report", tmp_path / "report.html", "--summary", tmp_path / "summary.md"),
        data=tmp_path / "data",
    )
    assert done.returncode == 3, done.stderr
    assert "suite.jsonl: 2 questions" in done.stdout
    assert "Cannot tell yet: No difference on your task" in done.stdout
    assert 'failures="1"' in (tmp_path / "junit.xml").read_text()
    assert "Cannot tell yet" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "summary.md").read_text().startswith("# Cannot tell yet")
    assert (tmp_path / "score.csv").read_text().count("\nsuite.jsonl,") == 4
    figures = json.loads(out.read_text())
    assert set(figures) >= {"suite", "n", "base", "tuned", "p_value", "model", "adapter", "settings", "created"}
    assert len(figures["answers"]) == 4
    assert figures["n"] == 2
    assert figures["base"]["passed"] == figures["tuned"]["passed"] == 0
    assert figures["p_value"] == 1.0


def test_a_suite_that_is_missing_is_one_line(tmp_path, tiny_model_path, capsys):
    assert main(["score", "--model", str(tiny_model_path), "--suite", str(tmp_path / "none.jsonl")]) == 2
    assert "There is no suite file" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_fault_and_no_success():
    command = [sys.executable, "-m", "eval_prompts", "tasks", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (141, b"")
