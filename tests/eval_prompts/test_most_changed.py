"""The report's picture of the most changed answer: which one, escaped, and why there is none."""

import json
from dataclasses import replace

import pytest

from eval_prompts.__main__ import main
from eval_prompts.answers import Answer
from eval_prompts.lens.picture import Picture, picture_html, size
from eval_prompts.lens.token_lens import read
from eval_prompts.most_changed import most_changed
from eval_prompts.tasks.catalogue import python_task
from tuning.data.chat import PYTHON_FORMAT


class Loaded:
    """As much of a lens as is read."""

    def __init__(self, pair):
        self.pair = pair

    def loaded_pair(self):
        return self.pair

    def read(self, messages, text, *, ended=False, written=()):
        return read(self.pair, messages, text, ended=ended, written=written)


def pair_of(index, base, tuned):
    question = python_task().questions[index].text
    return [Answer(side, index, question, text, 3, state="ended") for side, text in (("base", base), ("tuned", tuned))]


def test_the_pair_is_the_one_whose_tuned_answer_changed_most(tiny_pair):
    task = python_task()
    prompts = task.prompts(task.questions)
    answers = [*pair_of(0, "same", "same"), *pair_of(1, "ab", "cd <b>"), *pair_of(2, "x", "zzz")]
    picture, without = most_changed(Loaded(tiny_pair), prompts, answers, True)
    assert without == ""
    sizes = {}
    for index, text in ((1, "cd <b>"), (2, "zzz")):
        messages = task.prompt(task.questions[index]).messages
        sizes[index] = size(read(tiny_pair, messages, text, ended=True))
    assert picture.number == max(sizes, key=sizes.get)
    assert (picture.looked_at, picture.differing) == (2, 2)
    same, why = most_changed(Loaded(tiny_pair), prompts, pair_of(0, "same", "same"), True)
    assert same is None
    assert "No two answers differ" in why
    assert "other machines" in most_changed(Loaded(None), prompts, answers, True)[1]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a & b\n<|im_end|>"])
def test_texts_in_the_picture_are_escaped(tiny_pair, text):
    messages = PYTHON_FORMAT.messages({"question": "Why?", "input": ""})
    readings = {"base": read(tiny_pair, messages, "b"), "tuned": read(tiny_pair, messages, text)}
    shown = picture_html(Picture(0, readings, True, 1, 1), {"base": "Base", "tuned": "Tuned"}, "<i>Why</i>?")
    assert "<script>" not in shown
    assert "<i>" not in shown
    assert "here they part" in shown
    json.dumps(replace(Picture(0, readings, True, 1, 1)).to_dict(), allow_nan=False)


def test_the_report_of_a_comparison_holds_it(tiny_model_path, tiny_adapter_path, tmp_path):
    pair = ["--model", str(tiny_model_path), "--adapter", str(tiny_adapter_path), "--max-new-tokens", "5"]
    assert main(["compare", *pair, "--limit", "2", "--out", str(tmp_path)]) == 0
    assert "The most changed answer, token by token" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "answers.json").read_text())["lens"]["tuned"]["tokens"]
