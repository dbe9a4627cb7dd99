"""Figures over a set against the same figures from whole logits, their intervals, and the command."""

import json
import math

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_prompts.__main__ import main
from eval_prompts.lens.set_figures import Estimate, TextSet, percentiles, ratio, within
from eval_prompts.lens.token_lens import encoded, read
from tuning.data.chat import PYTHON_FORMAT

QUESTIONS = {"Why?": ("because", "so it is"), "How?": ("like this",), "When?": ("then", "never", "now")}


def test_figures_are_those_of_whole_logits(tiny_pair):
    found, base, tuned, counts = TextSet(), [], [], []
    for question, answers in QUESTIONS.items():
        for answer in answers:
            found.add(question, read(tiny_pair, question, answer, ended=True))
            messages = PYTHON_FORMAT.messages({"question": question, "input": ""})
            prompt, text = encoded(tiny_pair, "base", messages, answer, True)
            for model, whole in ((tiny_pair.base, base), (tiny_pair.tuned, tuned)):
                with torch.inference_mode():
                    logits = model(input_ids=torch.tensor([prompt + text])).logits[0, len(prompt) - 1 : -1]
                whole.append((logits.double().log_softmax(-1), text))
            counts.append(len(text))
    figures = found.figures()
    value = {name: estimate["value"] for name, estimate in figures["estimates"].items()}
    chosen = [[logs[torch.arange(len(text)), text] for logs, text in side] for side in (base, tuned)]
    ours, theirs = (torch.cat(side) for side in chosen)
    kl = torch.cat([(b.exp() * (b - t)).sum(-1) for (b, _), (t, _) in zip(base, tuned, strict=True)])
    same = torch.cat([b.argmax(-1) == t.argmax(-1) for (b, _), (t, _) in zip(base, tuned, strict=True)])
    assert value["kl"] == pytest.approx(kl.mean().item(), rel=1e-4)
    assert value["kl_percentile_90"] == pytest.approx(float(numpy.percentile(kl.numpy(), 90)), rel=1e-3)
    assert value["perplexity_base"] == pytest.approx(math.exp(-ours.mean().item()), rel=1e-4)
    assert value["perplexity_tuned"] == pytest.approx(math.exp(-theirs.mean().item()), rel=1e-4)
    assert value["change_per_token"] == pytest.approx((theirs - ours).mean().item(), abs=1e-4)
    assert value["logprob_per_answer_tuned"] == pytest.approx(theirs.sum().item() / len(counts), rel=1e-4)
    assert value["same_top"] == pytest.approx(same.double().mean().item())
    assert (figures["texts"], figures["questions"], figures["tokens"]) == (6, 3, sum(counts))
    sizes = [entry["mean_size"] for entry in figures["most_changed_questions"]]
    assert sizes == sorted(sizes, reverse=True)
    for entry in figures["ends_that_rose"]:
        assert entry["tuned"] >= entry["base"] + 0.005


def test_an_interval_ends_where_its_figure_can_go_no_further():
    assert within(Estimate(0.9, (0.5, 1.3)), 0, 1).interval == (0.5, 1)
    assert within(Estimate(0.2, (-0.1, 0.5)), 0).interval == (0, 0.5)
    assert within(Estimate(0.2, None), 0).interval is None


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = numpy.random.default_rng(1)
    held = 0
    for _ in range(400):
        effect = random.normal(0, 1, 20)  # what a question has of its own: without clusters this would hold far less
        tokens = random.integers(5, 40, 20)
        sums = numpy.array([random.normal(own, 1, count).sum() for own, count in zip(effect, tokens, strict=True)])
        low, high = ratio(sums, tokens.astype(float)).interval
        held += low <= 0 <= high
    assert 0.90 <= held / 400 <= 0.98
    question = numpy.repeat(numpy.arange(20), 30)
    low, high = percentiles(random.normal(0, 1, 600), question)[50].interval
    assert low < 0 < high < 0.5


@given(st.lists(st.tuples(st.integers(0, 7), st.floats(0, 20)), min_size=1, max_size=40))
@settings(max_examples=15)
def test_a_percentile_lies_in_its_interval_and_few_questions_give_none(tokens):
    question, values = (numpy.array(column) for column in zip(*tokens, strict=True))
    for estimate in percentiles(values, question).values():
        if len(set(question)) < 5:
            assert estimate.interval is None
        else:
            assert estimate.interval[0] <= estimate.value <= estimate.interval[1]


def test_one_question_has_no_interval(tiny_pair):
    found = TextSet()
    found.add("Why?", read(tiny_pair, "Why?", "because"))
    assert all(estimate["interval"] is None for estimate in found.figures()["estimates"].values())


@pytest.mark.parametrize("kind", ["task", "data", "suite", "answers"])
def test_the_command_reads_every_kind_of_set(kind, tiny_model_path, tiny_adapter_path, tmp_path, capsys):
    pair = ["--model", str(tiny_model_path), "--adapter", str(tiny_adapter_path), "--max-new-tokens", "6"]
    out = tmp_path / "lens.json"
    if kind in ("task", "answers"):
        file = tmp_path / "task.yaml"
        file.write_text(
            "name: t\nquestions:\n  - {id: a, question: Why?, answer: so}\n  - {id: b, question: How?, answer: ''}\n"
        )
        chosen = ["--task", str(file), *(["--answers"] if kind == "answers" else [])]
    elif kind == "suite":
        file = tmp_path / "suite.jsonl"
        rows = [
            {"text": "Add.", "code": "a + b"},
            {"prompt": "def f():\n", "canonical_solution": "  pass"},
            {"text": "No."},
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        chosen = ["--suite", str(file)]
    else:
        file = tmp_path / "rows.jsonl"
        rows = [{"question": f"What is {number}?", "answer": f"It is {number}."} for number in range(60)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        chosen = ["--data", str(file), "--limit", "2"]
    assert main(["lens", *chosen, *pair, "--json", str(out)]) == 0
    told = capsys.readouterr()
    figures = json.loads(out.read_text())
    assert figures["texts"] == {"task": 1, "answers": 4, "suite": 2, "data": 2}[kind]
    assert "perplexity, tuned" in told.out
    if kind == "task":
        assert "1 of 2 questions have no reference" in told.err
    if kind == "suite":
        assert "1 rows of suite.jsonl lack" in told.err
    if kind == "data":
        assert "Only the first 2" in told.err


@pytest.mark.parametrize("wrong", [[], ["--task", "python", "--data", "held-out"], ["--data", "held-out", "--answers"]])
def test_a_set_is_named_once(wrong, capsys):
    assert main(["lens", *wrong]) == 2
    assert "error:" in capsys.readouterr().err
