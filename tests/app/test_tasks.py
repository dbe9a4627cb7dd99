"""A task of one's own on a running app: its endpoints, its prompt, its verdicts, and who may choose it."""

from __future__ import annotations

import pytest
from gradio_client import Client

LEAST = """\
name: capitals
system: Answer with one short sentence.
user: "In {continent}: {question}"
questions:
- {id: ml, question: "What is the capital of Mali?", answer: Bamako, continent: Africa}
- {id: pe, question: "What is the capital of Peru?", answer: Lima, continent: South America}
score: [contains]
settings: {max_new_tokens: 4}
"""


@pytest.fixture
def client(start_app, page_model_path, page_adapter_path, tmp_path):
    (tmp_path / "capitals.yaml").write_text(LEAST)
    model = ("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    app = start_app(*model, "--task", str(tmp_path / "capitals.yaml"))
    app.wait_for_line("is ready on")
    return Client(app.url, verbose=False, download_files=False, analytics_enabled=False)


def test_the_apps_task_is_asked_and_judged_and_another_can_be_named(client):
    listed = {task["name"]: task for task in client.predict(api_name="/tasks")}
    assert listed["capitals"]["in_use"]
    assert not listed["python"]["in_use"]
    rows = client.predict(question="", blind=False, max_new_tokens=4, api_name="/ask_pairs")
    assert [row["question"] for row in rows] == ["What is the capital of Mali?", "What is the capital of Peru?"]
    badges = [badge["label"] for row in rows for badge in row["left"]["verdict"]["badges"]]
    assert badges == ["does not contain it"] * 2
    own = client.predict(question="Why?", blind=False, max_new_tokens=4, api_name="/ask_pairs")
    assert own[0]["left"]["verdict"]["badges"] == []
    least = client.predict(question="", blind=False, api_name="/ask_pairs")
    assert all(row["left"]["tokens"] <= 4 for row in least), "the task's own cap where a script gives none"
    named = client.predict(question="", blind=False, max_new_tokens=4, task="python", api_name="/ask_pairs")
    assert len(named) == 5
    with pytest.raises(Exception, match="did you mean python"):
        client.predict(question="Why?", task="pyhton", api_name="/ask")
    with pytest.raises(Exception, match="There is no task '/etc/passwd'"):
        client.predict(question="Why?", task="/etc/passwd", api_name="/ask")
    shown = client.predict(task="capitals", number=2, api_name="/preview_task")
    assert shown["turns"][1] == {"role": "user", "content": "In South America: What is the capital of Peru?"}
    assert "In South America" in "".join(shown["tokens"])
    written = client.predict(task="capitals", api_name="/export_task").replace("capitals", "kept")
    assert client.predict(content=written, api_name="/save_task")["questions"] == 2
    assert client.predict(task="kept", number=1, api_name="/preview_task")["references"] == ["Bamako"]
    with pytest.raises(Exception, match="line 1, questions: there are none"):
        client.predict(content="name: x", api_name="/save_task")
    assert client.predict(task="kept", api_name="/delete_task")
    assert "kept" not in {task["name"] for task in client.predict(api_name="/tasks")}
    assert client.predict(task="python", api_name="/use_task")["title"] == "Python"
    assert len(client.predict(question="", blind=False, max_new_tokens=4, api_name="/ask_pairs")) == 5


def test_without_a_task_an_adapter_from_elsewhere_is_asked_without_a_system_prompt_and_that_is_said(app):
    client = Client(app.url, verbose=False, download_files=False, analytics_enabled=False)
    assert "without a system prompt" in client.predict(api_name="/status")["adapter"]["notes"][-1]

    def answers(**named):
        rows = client.predict(question="Why?", blind=False, max_new_tokens=24, api_name="/ask_pairs", **named)
        pair = tuple(rows[0][place]["text"] for place in ("left", "right"))
        assert client.predict(question="Why?", max_new_tokens=24, api_name="/ask", **named) == pair
        return pair

    assert answers() == answers(task="plain") != answers(task="python")
