"""The report: what answers.json holds, and that no text of a model or visitor becomes markup."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval_prompts.answers import Answer, Settings
from eval_prompts.comparison import Comparison, judged
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.report import answer_html, write
from eval_prompts.serving.status import Status
from eval_prompts.showing.loss_curve import read_curve
from eval_prompts.tasks.probes import PROBES
from tuning.errors import UserError

CARD = AdapterCard("mine", Path("/secret/place"), "base", 16, 16.0, ("q_proj",), 60, 0.7, 0.5)
HOSTILE = "<script>alert(1)</script> ![x](http://example.com/x.png) [y](javascript:alert(1))\n\n```python\na < b\n```"


def status(adapter=CARD):
    return Status("ready", "ready", None, "smollm2-135m", "here", "CPU fp32", adapter, True, 600, 0, 0, 1.0, "0.1.0")


def answers(text="```python\nprint(1)\n```"):
    return [
        Answer(side, index, probe.question, text, 5, 0.5, 0.1, "ended" if side == "tuned" else "capped")
        for index, probe in enumerate(PROBES)
        for side in ("base", "tuned")
    ]


def test_answers_json_has_the_agreed_layout(tmp_path):
    write(Comparison(status(), Settings(), answers()), tmp_path / "out")
    content = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert set(content) >= {"model", "adapter", "settings", "answers"}
    assert len(content["answers"]) == 10
    before = {"probe", "question", "side", "text", "tokens", "seconds", "stopped"}
    assert set(content["answers"][0]) == before | {"number", "state", "verdicts", "score"}
    assert [a["stopped"] for a in content["answers"][:2]] == [False, True]
    assert content["answers"][2]["probe"] == "fibonacci"
    assert "/secret/place" not in json.dumps(content)


def test_the_reports_name_both_sides_and_how_each_answer_ended(tmp_path):
    _, markdown, page = write(Comparison(status(), Settings(temperature=0.5), answers()), tmp_path)
    for text in (markdown.read_text(), page.read_text()):
        assert "hit the token cap" in text
        assert "ended by itself" in text
        assert "mine · r16 · 60 steps · loss 0.70 to 0.50" in text
        assert "temperature 0.5" in text
        assert all(probe.question in text for probe in PROBES)


def test_two_adapters_are_named_instead_of_base_and_tuned(tmp_path):
    rival = replace(CARD, name="<i>theirs", steps=20)
    both = replace(status(), against=rival, base_is_base=None)
    comparison = Comparison(both, Settings(), answers(), judged(answers()[:2]))
    data, markdown, page = (path.read_text() for path in write(comparison, tmp_path))
    assert json.loads(data)["against"]["name"] == "<i>theirs"
    assert "adapter mine · r16 · 60 steps · loss 0.70 to 0.50 against adapter <i>theirs · r16" in comparison.subtitle
    assert comparison.tally.startswith("mine: ")
    assert "· <i>theirs: " in comparison.tally
    assert "**mine** (" in markdown
    assert r"**\<i\>theirs** (" in markdown
    assert "<h3>&lt;i&gt;theirs</h3>" in page
    for text in (markdown, page):
        assert not any(word in text for word in ("**Base**", "**Tuned**", "<h3>Base", "<h3>Tuned"))


def test_the_page_is_self_contained_and_escapes_everything(tmp_path):
    _, _, page = write(Comparison(status(), Settings(), answers(HOSTILE)), tmp_path)
    html = page.read_text()
    for forbidden in ("<script", "<img", "href=", "src=", "@import", "url("):
        assert forbidden not in html
    assert "&lt;script&gt;" in html


def test_code_is_highlighted_whatever_its_fence_says():
    assert '<span class="k">def</span>' in answer_html("```python\ndef f(): pass\n```")
    assert '<span class="k">def</span>' in answer_html("```\ndef f(): pass\n```")
    assert "a &lt; b" in answer_html("```no-such-language\na < b\n```")


def test_one_side_alone_makes_a_report(tmp_path):
    base_only = [answer for answer in answers() if answer.side == "base"]
    _, _, page = write(Comparison(status(adapter=None), Settings(), base_only), tmp_path)
    assert "no adapter" in page.read_text()
    assert 'class="tuned"' not in page.read_text()


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write(Comparison(status(), Settings(), answers()), tmp_path / "file")


FIBONACCI = "```python\na, b = 0, 1\nfor _ in range(10):\n    print(a)\n    a, b = b, a + b\n```"


def test_the_reports_tell_the_verdicts_with_their_reasons(tmp_path):
    told = answers(FIBONACCI)
    files = write(Comparison(status(), Settings(), told, judged(told)), tmp_path)
    content, markdown, page = (file.read_text() for file in files)
    assert json.loads(content)["summary"]["tuned"]["passes"] == 1
    assert len(json.loads(content)["verdicts"]) == 10
    tally = "tuned: 1 of 5 do the task, 5 ended by themselves · base: 1 of 5 do the task, 0 ended by themselves"
    assert tally in markdown
    assert tally in page
    assert "✓ does the task · ✗ hit the cap" in markdown
    assert "✗ fails the task" in page
    assert page.count('<details class="badge bad">') >= 8
    assert "0\n1\n1\n2\n3\n5\n8\n13\n21\n34" in page


def test_answers_that_were_stopped_are_not_judged():
    told = [Answer("base", 0, PROBES[0].question, "```python\nprint(", state="cancelled")]
    assert judged(told) == {}


def test_what_the_code_printed_is_escaped_too(tmp_path):
    told = answers("```python\nprint('<script>alert(1)</script>')\n```")
    *_, page = write(Comparison(status(), Settings(), told, judged(told)), tmp_path)
    assert "<script" not in page.read_text()
    assert "<pre>&lt;script&gt;alert(1)&lt;/script&gt;" in page.read_text()


def test_the_loss_curve_of_the_adapters_run_is_drawn(tmp_path):
    lines = [{"event": "validation", "step": 0, "validation_loss": 1.25}]
    lines += [{"event": "step", "step": step, "loss": 1.5 / step} for step in range(1, 9)]
    lines += [
        {"event": "stopped", "step": 8},
        {"event": "resumed", "step": 4},
        {"event": "step", "step": 5, "loss": None},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    curve = read_curve(tmp_path / "adapter")
    assert curve.training == ((1, 1.5), (2, 0.75), (3, 0.5), (4, 0.375))
    assert curve.validation == ((0, 1.25),)
    *_, page = write(Comparison(status(), Settings(), answers(), curve=curve), tmp_path / "out")
    html = page.read_text()
    assert '<polyline class="training"' in html
    assert "from 1.50 to 0.38" in html
    assert "step 4" in html


def test_an_adapter_from_elsewhere_has_no_curve(tmp_path):
    assert read_curve(tmp_path / "adapter") is None
    *_, page = write(Comparison(status(), Settings(), answers()), tmp_path / "out")
    assert "<svg" not in page.read_text()
