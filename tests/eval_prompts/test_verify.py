"""Whether a file of somebody else's holds the fine-tune: GGUF, merged folders, what is neither."""

from __future__ import annotations

import json
import shutil

import pytest

from eval_prompts.__main__ import main
from tests.tuning.exports.gguf_models import make_subject
from tuning.exports import formats, tensors
from tuning.exports.certify import measure

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("verify"))


@pytest.fixture(scope="module")
def whole(subject, tmp_path_factory):
    return formats.export(subject, tmp_path_factory.mktemp("whole") / "merged", "merged", "fp32", check=False).path


@pytest.fixture
def verified(subject, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "ANSWER_TOKENS", 8)
    monkeypatch.setattr(measure, "GOLD_TOKENS", 8)

    def verified(artefact, *options):
        named = ["--model", str(subject.weights.path), "--adapter", str(subject.adapter), "--questions", "2"]
        code = main(["verify", str(artefact), *named, "--json", str(tmp_path / "proof.json"), *options])
        return code, *capsys.readouterr()

    return verified


def test_a_merged_folder_holds_the_fine_tune_and_one_without_it_does_not(
    subject, whole, verified, tmp_path, monkeypatch
):
    code, out, _ = verified(whole)
    assert code == 0
    assert out.startswith("green: ")
    monkeypatch.setattr(tensors, "plain_changes", lambda subject: {})
    formats.export(subject, tmp_path / "empty", "merged", "fp32", check=False)
    code, out, _ = verified(tmp_path / "empty")
    assert code == 3
    assert "nearer to the base" in out


def settings(**changes):
    def change(folder):
        path = folder / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def tokens_swapped(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    numbers = content["model"]["vocab"]
    one, other = sorted(numbers, key=numbers.__getitem__)[200:202]
    numbers[one], numbers[other] = numbers[other], numbers[one]
    path.write_text(json.dumps(content))


def a_token_more(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 900, "content": "zqx", "special": False})
    path.write_text(json.dumps(content))


def not_a_number(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "colour", "words"),
    [
        (settings(eos_token_id=0), "red", "Answers do not end at <|im_end|>"),
        (settings(eos_token_id=list(range(2, 300))), "red", "which ended none in training"),
        (settings(repetition_penalty=5.0), "yellow", "has repetition_penalty 5.0, and the base's has not"),
        (tokens_swapped, "red", "2 of 320 tokens are others"),
        (a_token_more, "yellow", "has a token that training had not, such as 'zqx'"),
        (not_a_number, "red", "computes no numbers (NaN)"),
    ],
)
def test_what_weights_alone_do_not_show_is_seen_in_a_merged_folder(whole, verified, tmp_path, change, colour, words):
    """Ends, settings and tokens of ``generate``, also those that no question here happens to use."""
    shutil.copytree(whole, tmp_path / "merged")
    change(tmp_path / "merged")
    code, out, _ = verified(tmp_path / "merged")
    assert (out.partition(":")[0], code) == (colour, 3 if colour == "red" else 0)
    assert words in out


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
