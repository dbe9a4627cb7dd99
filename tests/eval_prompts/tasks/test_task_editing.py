"""A task as the page's form holds it: questions from files and pastes, problems by field, held-out rows of data."""

from __future__ import annotations

import json
import shutil

import pytest

from eval_prompts.tasks import catalogue, editing, uploaded
from eval_prompts.tasks.held_out import held_out
from eval_prompts.tasks.verdicts import judge_answer
from tuning.data.chat import PYTHON_FORMAT
from tuning.errors import UserError


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))


@pytest.fixture
def upload(tmp_path):
    """Puts a text, or a file, where the web server puts what it receives, and keeps it."""

    def send(name, text):
        place = tmp_path / "received" / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
        return uploaded.keep(place, place.parent)

    return send


def form(file, **fields):
    return {"name": "mine", "user": "{question}", "questions": {"file": file}, "show": True} | fields


@pytest.mark.parametrize(
    ("text", "questions", "references"),
    [
        ("What is it?\n\n  And where?\n", ["What is it?", "And where?"], [(), ()]),
        ('question,answer\n"One, two?",yes\nThree?,no\n', ["One, two?", "Three?"], [("yes",), ("no",)]),
        ("question\tanswer\nOne?\tyes\n", ["One?"], [("yes",)]),
        ('{"prompt": "One?", "output": "yes"}\n', ["One?"], [("yes",)]),
        ('[{"prompt": "One?"},\n {"prompt": "Two?"}]', ["One?", "Two?"], [(), ()]),
        ('sentence,pirate\n"Is it, then?",Arr\nWhere?,Aye\n', ["Is it, then?", "Where?"], [(), ()]),
        ("Yes, or no?\nThis, or that?", ["Yes, or no?", "This, or that?"], [(), ()]),
        ("Well, is it so?\nOr, if not, why?", ["Well, is it so?", "Or, if not, why?"], [(), ()]),
    ],
)
def test_what_is_pasted_becomes_questions(upload, text, questions, references):
    draft = editing.read_draft(form(upload("pasted.txt", text)))
    assert draft.problems == {}
    assert [question.text for question in draft.task.questions] == questions
    assert [question.references for question in draft.task.questions] == references


def test_columns_are_guessed_and_the_guess_is_corrected(upload):
    file = upload("fragen.csv", "Nr;User question;Model answer;Land\n1;Wo?;Hier;DE\n2;Wer?;Ich;AT\n")
    draft = editing.read_draft(form(file, user="{Land}: {question}"))
    assert draft.problems == {}
    assert draft.parts == {"question": "User question", "answer": "Model answer"}
    assert editing.told(draft)["rows"][1] == {"Nr": "2", "User question": "Wer?", "Model answer": "Ich", "Land": "AT"}
    assert draft.task.prompt(draft.task.questions[0]).messages[0]["content"] == "DE: Wo?"
    swapped = form(file, columns={"question": "Model answer", "answer": "User question", "id": "Nr"})
    task = editing.read_draft(swapped).task
    assert [(one.id, one.text, one.references) for one in task.questions] == [
        ("1", "Hier", ("Wo?",)),
        ("2", "Ich", ("Wer?",)),
    ]


def test_a_part_can_have_no_column_though_one_is_called_so(upload):
    file = upload("q.csv", "id,question,answer,Good reply\n1,Wo?,x,Hier\n1,Wer?,y,Ich\n")
    draft = editing.read_draft(form(file))
    assert "'1' stands in line 2 already: each question needs an id of its own" in draft.problems["questions"]
    draft = editing.read_draft(form(file, columns={"id": "", "answer": "", "question": "question"}))
    assert draft.parts == {"question": "question"}
    assert [(one.id, one.references) for one in draft.task.questions] == [("1", ()), ("2", ())]
    guess = editing.read_draft(form(upload("r.csv", "question,Good reply\nWo?,Hier\n")))
    assert guess.parts == {"question": "question", "answer": "Good reply"}


def test_what_is_asked_is_shown_before_all_else_is_right(upload):
    draft = editing.read_draft(form(upload("q.csv", "question\nWo?\n"), name="", score=[{"name": "regex"}]))
    assert set(draft.problems) == {"name", "questions"}
    assert draft.shown is None
    draft = editing.read_draft(form(upload("q.csv", "question\nWo?\n"), name="My task", settings={"seed": "x"}))
    assert draft.problems["name"].endswith("such as my-task.")
    assert draft.task is None
    assert editing.told(draft)["count"] == len(draft.shown.questions) == 1


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": ""}, "name", "name: give the task a name"),
        ({"user": "{ country }"}, "user", "q.csv: user holds { country }, which is no column: write {country}"),
        ({"name": "a/b"}, "name", "name: a name has"),
        ({"name": ".hidden"}, "name", "name: a name has"),
        ({"name": "python"}, "name", "the name of a built-in task"),
        ({"name": "taken"}, "name", "there is a task taken already"),
        ({"user": "{countri}"}, "user", "q.csv: user names the column 'countri', .*did you mean country"),
        ({"score": [{"name": "contians"}]}, "score", "score: there is no scorer 'contians': did you mean contains"),
        ({"score": [{"name": "regex", "options": {"pattern": "("}}]}, "score", "score: regex: pattern is not"),
        ({"score": [{"name": "json", "options": {"schema": "{"}}]}, "score", "schema looks like JSON, and is none"),
        ({"score": [{"name": "own", "options": {"file": "/etc/x.py"}}]}, "score", "score: .*from the page cannot"),
        ({"score": [{"name": "exact"}]}, "questions", "q.csv, line 3, answer: exact needs a reference"),
        ({"score": [{"name": "sql"}]}, "questions", "q.csv, line 2, schema: sql needs this column"),
        ({"score": "exact"}, "", ""),
        ({"settings": {"max_new_tokens": "many"}}, "settings", "settings: The token cap"),
        ({"settings": {"beam": 3}}, "settings", "there is no setting 'beam'"),
        ({"stop": "a" * 300}, "stop", "A stop text must have 1 to 200"),
        ({"columns": {"answer": "question"}}, "questions", "the column 'question' is both question and answer"),
        ({"columns": {"question": "frage"}}, "questions", "q.csv: the column 'frage' for question is not there"),
        ({"questions": {"file": "0123456789abcdef/q.csv"}}, "questions", "no longer there"),
        ({"questions": {"file": "../../etc/passwd"}}, "questions", "no longer there"),
        ({"questions": "a,b\n1,2\n"}, "questions", "choose which column is the question .there are a, b"),
        ({"questions": "question\na\0b\n"}, "questions", "line 2, question: The question holds a NUL byte"),
        (
            {"questions": "question\n" + "x" * 20_001},
            "questions",
            "line 2, question: The question has 20,001 characters",
        ),
        ({"questions": b"question\ncaf\xe9\n"}, "questions", "column 4.: save it as UTF-8; as cp1252 it reads “café”"),
        ({"questions": None}, "questions", "questions: paste some"),
        ({"questions": {"task": "nothing"}}, "questions", "There is no task 'nothing'"),
    ],
)
def test_each_fault_is_one_sentence_under_its_field(upload, fields, field, words):
    file = upload("q.csv", "question,answer,country\nWhere?,here,Mali\nWhen?,,Peru\n")
    catalogue.save_task(editing.read_draft(form(file, name="taken")).task)
    if isinstance(fields.get("questions"), str | bytes):
        fields = {"questions": {"file": upload("r.csv", fields["questions"])}, "user": ""}
    draft = editing.read_draft(form(file) | fields)
    assert list(draft.problems) == ([field] if field else [])
    assert (draft.task is None) == bool(field)
    if field:
        with pytest.raises(UserError, match=words):
            raise UserError(draft.problems[field])
        assert "\n" not in draft.problems[field]


@pytest.mark.parametrize(
    "content", [{}, {"score": [3], "settings": 7, "questions": [], "columns": 3, "shots": "x", "stop": {}}]
)
def test_nothing_that_is_sent_breaks_the_form(content):
    draft = editing.read_draft(content)
    assert draft.task is None
    assert all("\n" not in words for words in draft.problems.values())
    json.dumps(editing.told(draft))


def test_a_task_is_kept_edited_renamed_and_removed_with_its_questions(upload):
    lines = "".join(f"q{number}?,{number}\n" for number in range(catalogue.INLINE + 1))
    options = {
        "score": [
            {"name": "number", "options": {"tolerance": "0.5"}},
            {"name": "contains", "options": {"text": "a\nb"}},
        ]
    }
    sent = form(
        upload("many.csv", f"question,answer\n{lines}"),
        settings={"max_new_tokens": "24"},
        stop="\\n\\n\nEND",
        **options,
    )
    path = catalogue.save_task(editing.read_draft(sent).task)
    kept = catalogue.find_task("mine")
    assert (len(kept.questions), kept.settings.stop) == (catalogue.INLINE + 1, ("\n\n", "END"))
    assert catalogue.find_task("mine") is kept, "it is read once"
    shutil.rmtree(uploaded.folder())

    again = editing.form_of(kept)
    assert again["score"] == sent["score"]
    assert editing.read_draft(again).task.to_dict() == kept.to_dict()
    catalogue.save_task(editing.read_draft(again | {"system": "Be brief."}).task)
    assert catalogue.find_task("mine").format.system == "Be brief."
    assert len(list(path.parent.glob("mine.*"))) == 2
    other = path.parent / "mine.2.0123456789ab.jsonl"
    other.write_text("")
    catalogue.delete_task("mine")
    assert list(path.parent.glob("mine*")) == [other]


def test_only_what_was_uploaded_is_kept_and_old_files_go(upload, tmp_path):
    with pytest.raises(UserError, match="was not uploaded"):
        uploaded.keep(tmp_path / "elsewhere.csv", tmp_path / "received")
    with pytest.raises(UserError, match="not a file of questions"):
        upload("q.docx", "x")
    names = [upload("q.csv", "question\na\n") for _ in range(uploaded.MOST + 2)]
    assert len(list(uploaded.folder().iterdir())) == uploaded.MOST
    with pytest.raises(UserError, match="no longer there"):
        uploaded.table_of(names[0])
    assert uploaded.table_of(names[-1]).rows == [(2, {"question": "a"})]


def pirate(number, system="Speak like a pirate.", more=()):
    turns = [("system", system), *more, ("user", f"Where is it, {number}?"), ("assistant", f"Arr, there, {number}!")]
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_held_out_rows_become_questions_with_references_and_their_system_prompt(tmp_path):
    source = write_jsonl(tmp_path / "pirates.jsonl", [pirate(number) for number in range(60)])
    found = {split: held_out(source, split) for split in ("test", "validation", "both")}
    assert len(found["both"].rows) == len(found["test"].rows) + len(found["validation"].rows) > 0
    assert found["test"].format.system == "Speak like a pirate."
    file = uploaded.keep_rows(found["both"].rows, "pirates")
    draft = editing.read_draft(form(file, user="", system=found["both"].format.system, score=[{"name": "exact"}]))
    assert draft.problems == {}
    question = draft.task.questions[0]
    assert [turn["role"] for turn in draft.task.prompt(question).messages] == ["system", "user"]
    assert judge_answer(draft.task, question, question.references[0]).task == "passes"

    talk = [("user", "Hello"), ("assistant", "Arr!")]
    rows = [pirate(n, "Be a pirate." if n % 2 else "Be a parrot.", talk) for n in range(60)]
    mixed = held_out(write_jsonl(tmp_path / "mixed.jsonl", rows), "both")
    assert any("system prompts: each row" in note for note in mixed.notes)
    task = editing.read_draft(form(uploaded.keep_rows(mixed.rows, "mixed"), user="")).task
    for asked in task.questions:
        assert [turn["role"] for turn in task.prompt(asked).messages] == ["system", "user", "assistant", "user"]
        assert asked.references[0].startswith("Arr, there")


def test_the_embedded_sets_held_out_rows_bring_their_prompt_and_their_tests():
    found = held_out("python_qa", "test")
    assert found.format == PYTHON_FORMAT
    assert any("tests" in row for row in found.rows)
    with pytest.raises(UserError, match="There is no data source"):
        held_out("nothing-here")
    with pytest.raises(UserError, match="There is no split 'train'"):
        held_out("python_qa", "train")


def test_editing_keeps_what_the_form_does_not_show(tmp_path):
    (tmp_path / "home" / "tasks").mkdir(parents=True)
    text = "adapter: my-run\nbattery: [python]\nquestions: ['What is it?']\n"
    (tmp_path / "home" / "tasks" / "mine.yaml").write_text(text, encoding="utf-8")
    draft = editing.read_draft(editing.form_of(catalogue.find_task("mine")))
    assert draft.problems == {}
    assert (draft.task.adapter, draft.task.battery) == ("my-run", ("python",))
