"""Pairs of a better and a worse answer, in the layouts that people have them in."""

from __future__ import annotations

import json

import pytest

from tuning.__main__ import main
from tuning.data import dataset
from tuning.data.cleaning import CONTRADICTED, SAME_ANSWERS
from tuning.data.options import Reading, column_roles
from tuning.data.reading.conversations import TWO_SYSTEMS
from tuning.data.reading.preferences import PARTED
from tuning.errors import UserError

USER, ASSISTANT = ({"role": "user", "content": "Q?"}, {"role": "assistant", "content": "good"})
WORSE = {"role": "assistant", "content": "bad"}
PAIRS = Reading(preference=True)


def load(tmp_path, *rows, reading=PAIRS):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return dataset.load(str(path), reading=reading)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q?", "chosen": "good", "rejected": "bad"},
        {"Instruction": "Q?", "Chosen": "good", "Rejected": "bad"},
        {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [WORSE]},
        {"prompt": "Q?", "chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]},
        {"chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]},
        {"chosen": "\n\nHuman: Q?\n\nAssistant: good", "rejected": "\n\nHuman: Q?\n\nAssistant: bad"},
    ],
)
def test_every_layout_gives_the_same_pair(tmp_path, row):
    (found,) = load(tmp_path, row).rows()
    assert (found.question, found.answer, found.rejected, found.turns) == ("Q?", "good", "bad", ())


def test_a_system_prompt_and_earlier_turns_belong_to_the_prompt(tmp_path):
    opening = [{"role": "system", "content": "S"}, USER, {"role": "assistant", "content": "A"}, USER]
    (found,) = load(tmp_path, {"chosen": [*opening, ASSISTANT], "rejected": [*opening, WORSE]}).rows()
    told = [(turn.role, turn.text, turn.trained) for turn in found.turns]
    assert told == [
        ("system", "S", False),
        ("user", "Q?", False),
        ("assistant", "A", False),
        ("user", "Q?", False),
        ("assistant", "good", True),
    ]
    (beside,) = load(tmp_path, {"system": "S", "prompt": "Q?", "chosen": "good", "rejected": "bad"}).rows()
    assert [turn.role for turn in beside.turns] == ["system", "user", "assistant"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Q?", "chosen": "same", "rejected": " same "}, SAME_ANSWERS),
        ({"prompt": "Q?", "chosen": "good", "rejected": None}, "no rejected answer"),
        ({"prompt": None, "chosen": "good", "rejected": "bad"}, "a pair without a prompt"),
        ({"chosen": [USER, ASSISTANT], "rejected": [dict(USER, content="R?"), WORSE]}, "part before"),
        ({"prompt": "R?", "chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]}, "different things"),
        ({"chosen": [USER], "rejected": [USER]}, "does not end with an answer"),
    ],
)
def test_what_is_no_pair_is_left_out_with_its_reason(tmp_path, row, reason):
    data = load(tmp_path, {"prompt": "Other?", "chosen": "c", "rejected": "r"}, row)
    assert len(data) == 1
    (told,) = [told for told in data.dropped if reason in told]
    assert (data.dropped[told], data.dropped.lines[told]) == (1, 2)


SYSTEM = {"role": "system", "content": "S"}
OTHER_SYSTEM = {"role": "system", "content": "other"}


@pytest.mark.parametrize(
    ("row", "told", "reasons"),
    [
        ({"prompt": "Q?", "chosen": "Assistant: good", "rejected": "bad"}, ["Q?", "Assistant: good"], []),
        (
            {"prompt": "Q?", "system": "col", "chosen": [SYSTEM, USER, ASSISTANT], "rejected": [SYSTEM, USER, WORSE]},
            ["S", "Q?", "good"],
            [TWO_SYSTEMS],
        ),
        (
            {"prompt": "Q?", "system": "col", "chosen": [SYSTEM, ASSISTANT], "rejected": [SYSTEM, WORSE]},
            ["S", "Q?", "good"],
            [TWO_SYSTEMS],
        ),
        (
            {"prompt": [SYSTEM, USER], "system": "S", "chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]},
            ["S", "Q?", "good"],
            [],
        ),
        ({"prompt": [SYSTEM, USER], "chosen": [OTHER_SYSTEM, USER, ASSISTANT], "rejected": "bad"}, [], ["part before"]),
        (
            {
                "prompt": [SYSTEM, USER],
                "chosen": [OTHER_SYSTEM, USER, ASSISTANT],
                "rejected": [OTHER_SYSTEM, USER, WORSE],
            },
            [],
            [PARTED],
        ),
        (
            {"prompt": [SYSTEM, USER], "chosen": [OTHER_SYSTEM, ASSISTANT], "rejected": [OTHER_SYSTEM, WORSE]},
            [],
            [PARTED],
        ),
        (
            {"prompt": [USER], "context": "C", "chosen": [ASSISTANT], "rejected": [WORSE]},
            ["Q?\nC", "good"],
            [],
        ),
        (
            {"prompt": None, "context": "C", "chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]},
            ["Q?\nC", "good"],
            [],
        ),
        ({"prompt": "Q?", "chosen": [dict(ASSISTANT, weight=0)], "rejected": "bad"}, [], ["weight 0, train false"]),
    ],
)
def test_what_stands_beside_a_pair_is_used_or_counted(tmp_path, row, told, reasons):
    data = load(tmp_path, {"prompt": "Other?", "chosen": "c", "rejected": "r"}, row)
    found = next((pair for pair in data.rows() if pair.line == 2), None)
    assert (found is not None) == bool(told)
    if found is not None:
        assert ([turn.text for turn in found.turns] or [found.question, found.answer]) == told
        assert found.rejected == "bad"
    assert len(data.dropped) == len(reasons)
    for reason, dropped in zip(reasons, data.dropped, strict=True):
        assert reason in dropped
        assert data.dropped.lines[dropped] == 2


def test_pairs_that_contradict_each_other_are_both_left_out(tmp_path):
    rows = [
        {"prompt": "Q?", "chosen": "a", "rejected": "b"},
        {"prompt": "Q?", "chosen": "b", "rejected": "a"},
        {"prompt": "Q?", "chosen": "a", "rejected": "c"},
    ]
    data = load(tmp_path, *rows)
    assert [(row.answer, row.rejected) for row in data.rows()] == [("a", "c")]
    assert data.dropped[CONTRADICTED] == 2


def test_columns_of_other_names_are_given_roles(tmp_path):
    row = {"q": "Q?", "win": "good", "lose": "bad"}
    reading = Reading(column_roles("question=q,chosen=win,rejected=lose"), preference=True)
    (found,) = load(tmp_path, row, reading=reading).rows()
    assert (found.question, found.answer, found.rejected) == ("Q?", "good", "bad")
    with pytest.raises(UserError, match="chosen and rejected"):
        load(tmp_path, row)


def described(capsys, *arguments):
    assert main(["data", "describe", "--model", "tiny", *arguments]) == 0
    return capsys.readouterr().out


def test_pairs_are_described_with_both_answers_apart(tmp_path, capsys):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "Q?", "chosen": "good", "rejected": "bad"}))
    (sample,) = json.loads(described(capsys, str(path), "--objective", "dpo", "--json"))["samples"]
    assert [(one["content"], one["trained"]) for one in sample["messages"]][-2:] == [("Q?", False), ("good", True)]
    assert sample["rejected"] == "bad"
    assert "good" in sample["text"]
    assert "bad" not in sample["text"]
    assert "bad" in sample["rejected_text"]
    assert "good" not in sample["rejected_text"]
    assert all("bad" not in text for text in sample["trained_text"])
    words = described(capsys, str(path), "--objective", "orpo")
    assert words.index("sample 1 chosen") < words.index("good") < words.index("sample 1 rejected") < words.index("bad")
    path.write_text(json.dumps({"question": "Q?", "answer": "A"}))
    (sample,) = json.loads(described(capsys, str(path), "--json"))["samples"]
    assert "rejected" not in sample


def test_other_training_leaves_pairs_out_by_name(tmp_path):
    with pytest.raises(UserError, match="--objective dpo"):
        load(tmp_path, {"prompt": "Q?", "chosen": "good", "rejected": "bad"}, reading=Reading())


JSON_ANSWER = json.dumps([{"role": "assistant", "content": "x"}])
WHOLE = [json.dumps([USER, answer]) for answer in (ASSISTANT, WORSE)]


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "told"),
    [
        ("As JSON?", JSON_ANSWER, "bad", ["As JSON?", JSON_ANSWER, "bad"]),
        ("As JSON?", *WHOLE, ["As JSON?", *WHOLE]),
        (json.dumps([USER]), "good", "bad", [json.dumps([USER]), "good", "bad"]),
        ("Q?", *WHOLE, ["Q?", "good", "bad"]),
        (None, *WHOLE, ["Q?", "good", "bad"]),
        ([USER], *WHOLE, ["Q?", "good", "bad"]),
        (json.dumps([USER]), json.dumps([ASSISTANT]), json.dumps([WORSE]), ["Q?", "good", "bad"]),
    ],
)
def test_json_in_a_text_is_a_conversation_only_where_the_whole_row_says_so(tmp_path, prompt, chosen, rejected, told):
    (found,) = load(tmp_path, {"prompt": prompt, "chosen": chosen, "rejected": rejected}).rows()
    assert [found.question, found.answer, found.rejected] == told


@pytest.mark.parametrize("prompt", [[USER], "Q?", None])
@pytest.mark.parametrize("inside", [[], ["history"], ["context"], ["history", "context"]])
def test_context_and_history_go_with_conversations_that_do_not_hold_them(tmp_path, prompt, inside):
    earlier = [{"role": "user", "content": "H"}, {"role": "assistant", "content": "R"}]
    asked = dict(USER, content="Q?\nC") if "context" in inside else USER
    before = [*(earlier if "history" in inside else []), asked]
    row = {"prompt": prompt, "chosen": [*before, ASSISTANT], "rejected": [*before, WORSE], "history": earlier}
    if prompt is not None or "context" not in inside:
        row["context"] = "C"
    data = load(tmp_path, row)
    (found,) = data.rows()
    assert [turn.text for turn in found.turns] == ["H", "R", "Q?\nC", "good"]
    assert not data.dropped


def test_a_history_alone_asks_nothing(tmp_path):
    data = load(
        tmp_path,
        {"prompt": "Q?", "chosen": "good", "rejected": "bad"},
        {"history": [["h", "r"]], "chosen": "good", "rejected": "bad"},
    )
    assert data.dropped == {"a pair without a prompt": 1}


GREETING = {"role": "assistant", "content": "Hello."}


@pytest.mark.parametrize(
    ("row", "told", "counted"),
    [
        ({"prompt": "Q?", "chosen": ASSISTANT, "rejected": WORSE}, ["Q?", "good"], 0),
        ({"conversations": [USER], "chosen": ASSISTANT, "rejected": WORSE}, ["Q?", "good"], 0),
        ({"messages": json.dumps([USER]), "chosen": "good", "rejected": "bad"}, ["Q?", "good"], 0),
        ({"messages": [GREETING], "chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]}, ["Q?", "good"], 1),
        (
            {"prompt": "Q?", "chosen": [GREETING, USER, ASSISTANT], "rejected": [GREETING, USER, WORSE]},
            ["Hello.", "Q?", "good"],
            1,
        ),
        ({"prompt": "Q?", "system": {"parts": [{"text": "S"}]}, "chosen": "good", "rejected": "bad"}, ["S"], 0),
    ],
)
def test_a_prompt_may_be_a_chat_and_an_answer_one_message(tmp_path, row, told, counted):
    data = load(tmp_path, row)
    (found,) = data.rows()
    assert ([turn.text for turn in found.turns] or [found.question, found.answer])[: len(told)] == told
    assert (found.answer, found.rejected) == ("good", "bad")
    assert sum(data.dropped.values()) == counted


def test_each_row_uses_the_first_prompt_that_it_fills_and_what_others_use_in_vain_is_counted(tmp_path):
    answers = {"chosen": "good", "rejected": dict(WORSE, label=False)}
    rows = [
        {"instruction": None, "prompt": "a", "messages": None} | answers,
        {"instruction": "", "prompt": None, "messages": [{"user": "b"}]} | answers,
        {"instruction": None, "prompt": "c", "messages": [USER]} | answers,
        {"prompt": "d", "question": "other"} | answers,
    ]
    data = load(tmp_path, *rows)
    assert [row.question for row in data.rows()] == ["a", "b", "c", "d"]
    assert data.dropped == {"the column 'messages' beside a better and a worse answer (not used in those rows)": 1}
    assert data.unused == ("question",)
    bad = load(tmp_path, rows[0], rows[3] | {"chosen": dict(ASSISTANT, label=False)})
    assert len(bad) == 1
    assert sum(bad.dropped.values()) == 1
