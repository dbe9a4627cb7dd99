"""Whether a file of somebody else's holds the fine-tune: GGUF, merged folders, what is neither."""

from __future__ import annotations

import json

import pytest

from eval_prompts.__main__ import main
from tests.tuning.exports.gguf_models import make_subject
from tuning.exports import formats, tensors
from tuning.exports.certify import measure

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("verify"))


@pytest.fixture
def verified(subject, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "ANSWER_TOKENS", 8)
    monkeypatch.setattr(measure, "GOLD_TOKENS", 8)

    def verified(artefact, *options):
        named = ["--model", str(subject.weights.path), "--adapter", str(subject.adapter), "--questions", "2"]
        code = main(["verify", str(artefact), *named, "--json", str(tmp_path / "proof.json"), *options])
        return code, *capsys.readouterr()

    return verified


def test_a_merged_folder_holds_the_fine_tune_and_one_without_it_does_not(subject, verified, tmp_path, monkeypatch):
    formats.export(subject, tmp_path / "merged", "merged", "fp32", check=False)
    code, out, _ = verified(tmp_path / "merged")
    assert code == 0
    assert out.startswith("green: ")
    monkeypatch.setattr(tensors, "plain_changes", lambda subject: {})
    formats.export(subject, tmp_path / "empty", "merged", "fp32", check=False)
    code, out, _ = verified(tmp_path / "empty")
    assert code == 3
    assert "nearer to the base" in out


def test_a_gguf_is_asked_a_tasks_questions_with_its_scores(subject, verified, tmp_path):
    formats.export(subject, tmp_path / "out", "gguf", "F16", check=False)
    task = tmp_path / "task.yaml"
    task.write_text(
        "name: short\nquestions:\n  - {id: a, question: How many?, answer: three}\n"
        "  - {id: b, question: What is it?, answer: four}\nscore: [exact]\nsettings: {max_new_tokens: 8}\n"
    )
    code, out, said = verified(tmp_path / "out", "--task", str(task))
    assert code == 0, (out, said)
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert proof["figures"]["scored"] == 2
    assert proof["figures"]["score_artefact"] == proof["figures"]["score_tuned"] == 0
    assert proof["about"]["engine"] == "llama.cpp"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no file or folder"), (b"hello", "no GGUF and no folder"), (b"GGUF\x03", "cannot be read as GGUF")],
)
def test_what_is_no_artefact_is_said_in_a_line(verified, tmp_path, content, words):
    if content is not None:
        (tmp_path / "file.gguf").write_bytes(content)
    code, _, said = verified(tmp_path / "file.gguf")
    assert code == 2
    assert words in said
