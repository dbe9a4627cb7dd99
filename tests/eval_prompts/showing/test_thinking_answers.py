"""Thinking models: the draft is kept, and counts for nothing."""

from __future__ import annotations

from dataclasses import replace

from eval_prompts.answer_facts import answer_dict
from eval_prompts.answers import Answer, Settings
from eval_prompts.comparison import Comparison as Report
from eval_prompts.comparison import judged
from eval_prompts.models.pair import Pair
from eval_prompts.report import markdown, page
from eval_prompts.scoring.ledger import judged as judged_answer
from eval_prompts.scoring.ledger import told
from eval_prompts.scoring.subject import of_suite
from eval_prompts.showing.judges import Judges, Verdicts
from eval_prompts.stream import Stream
from eval_prompts.tasks.catalogue import python_task
from tests.eval_prompts.showing.test_compare_view import STATUS, view_of
from tests.eval_prompts.votes.kept_pairs import answered, voted

GOOD = "```python\ndef average(numbers):\n    return sum(numbers) / len(numbers)\n```"
BAD = "```python\ndef average(numbers):\n    return missing\n```"
DRAFT = f"<think>\nPerhaps:\n{BAD}\nNo, no, no.\n</think>\n\n"
QUESTION = python_task().find("average").text


def answer(text, side="base", state="ended"):
    return Answer(side, 0, QUESTION, text, tokens=9, seconds=1.0, state=state)


def test_the_page_folds_the_draft_and_diffs_what_was_said():
    answers = [answer(DRAFT + GOOD), answer("<think>Otherwise.</think>" + GOOD, "tuned")]
    row = view_of(*answers)["rows"][0]
    left = row["sides"]["left"]
    assert left["text"] == GOOD
    assert left["thinking"]["over"]
    assert "missing" in left["thinking"]["text"]
    assert "missing" not in left["code"]
    assert row["differs"] is False
    plain = view_of(answer(GOOD))["rows"][0]
    assert plain["sides"]["left"]["thinking"] is None


def test_a_draft_that_does_not_end_is_said():
    row = view_of(answer("<think>On and on", state="capped"))["rows"][0]
    left = row["sides"]["left"]
    assert (left["text"], left["code"], left["thinking"]["over"]) == ("", "", False)
    assert left["ending"] == "hit the 300-token cap while still thinking"


def test_verdicts_are_on_what_was_said():
    whole, bare = (judged([answer(text)])["base", 0] for text in (DRAFT + GOOD, GOOD))
    assert whole == bare
    assert whole.task == "passes"
    judges = Judges(workers=1)
    try:
        verdicts = Verdicts(judges, python_task(), [python_task().find("average")])
        verdicts.begin(answer(DRAFT + GOOD))
        assert verdicts.wait(30)
        assert verdicts.final(0)["base"] == bare
    finally:
        judges.close()


def test_a_suites_tests_run_what_was_said(tmp_path):
    file = tmp_path / "suite.jsonl"
    file.write_text('{"task_id": 1, "text": "Add one.", "test_list": ["assert f(1) == 2"]}\n')
    code = "<think>def f(x): return 0</think>```python\ndef f(x):\n    return x + 1\n```"

    subject = of_suite(file, python_task(), Settings())
    finished = Answer("base", 0, "Add one.", code, tokens=5, state="ended")
    event = told(finished, judged_answer(subject, 0, finished))
    assert event["verdict"] == "passes"
    assert "return 0" not in event["text"]
    assert event["draft"] == code


def test_reports_and_json_keep_the_draft_apart():
    told = answer_dict(answer(DRAFT + GOOD))
    assert (told["text"], told["said"]) == (DRAFT + GOOD, GOOD)
    assert "said" not in answer_dict(answer(GOOD))
    report = Report(STATUS, Settings(), [answer(DRAFT + GOOD)])
    assert "missing" not in markdown(report)
    assert "characters is left out" in markdown(report)
    assert "<details><summary>Thinking</summary>" in page(report)


def test_preference_pairs_leave_drafts_out():
    from eval_prompts.votes.export import preference_rows

    sides = {"base": answered(text=DRAFT + "base says"), "tuned": answered("mine", "tuned says")}
    [row] = preference_rows([voted("left", **sides)])
    assert [row[name][0]["content"] for name in ("chosen", "rejected")] == ["base says", "tuned says"]


def test_a_tag_that_the_prompt_wrote_stands_before_the_answer(tiny_pair: Pair, engine_for):
    import copy

    tokenizer = copy.deepcopy(tiny_pair.tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\n' }}", "assistant\n<think>\n' }}")
    pair = replace(tiny_pair, tokenizer=tokenizer, side_tokenizers={})
    stream = Stream([QUESTION], ["base"], Settings(max_new_tokens=4))
    engine_for(pair).submit(stream)
    [found] = stream.result()
    assert found.opening == "<think>\n"
    assert found.text.startswith("<think>\n")
    assert found.thinks_still
    assert found.said == ""
