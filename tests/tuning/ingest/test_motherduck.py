"""MotherDuck, stood in for where its driver begins: the same load, errors in one line, and a token that is nowhere."""

from __future__ import annotations

import json

import pytest

from tests.tuning.ingest.tables import TOKEN, content, questions, write_jsonl
from tuning.__main__ import USAGE_ERROR, main
from tuning.data import dataset
from tuning.errors import UserError

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")
REFUSAL = "Request failed: Your request is not authenticated. Please check your MotherDuck token."
INIT = (
    'Initialization function "motherduck_duckdb_cpp_init" from file "motherduck.duckdb_extension" threw an exception: '
)


def train(source, folder, model):
    common = ["--preset", "smoke", "--model", str(model), "--sample-every", "0", "--run-dir", str(folder)]
    return main(["train", *common, "--max-steps", "1", "--data", source])


def written(*folders):
    """All bytes in all files of some folders."""
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_the_same_load_goes_there_and_training_reads_it_back(tmp_path, cloud, capfd, data_folder, tiny_model_path):
    source = write_jsonl(tmp_path / "s.jsonl", questions(80))
    for said in ("80 rows added", "nothing to change, all 80 rows are there"):
        assert main(["ingest", source, "--to", "md:shop", "--table", "sold"]) == 0
        assert said in capfd.readouterr().out
    assert len(content(cloud.folder / "shop.duckdb", "sold")) == 80
    name = "md:shop?table=sold&where=QuestionInput = ''"
    assert len(dataset.load(name)) == sum(not row["input"] for row in questions(80))
    assert train(name, tmp_path / "run", tiny_model_path) == 0
    told = capfd.readouterr()
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (recorded["data"]["table"], recorded["data"]["where"]) == ("md:shop?table=sold", "QuestionInput = ''")
    assert TOKEN not in told.out + told.err
    assert TOKEN.encode() not in written(tmp_path / "run", data_folder, cloud.folder)
    assert not any(TOKEN in name for name in cloud.opened)


def test_what_is_only_read_is_opened_without_files_settings_and_other_databases(tmp_path, cloud):
    main(["ingest", write_jsonl(tmp_path / "s.jsonl", questions(20)), "--to", "md:shop"])
    assert {name.partition("?")[2] for name in cloud.opened} == {"dbinstance_inactivity_ttl=0s"}
    cloud.opened.clear()
    dataset.load("md:shop")
    assert all("saas_mode=true" in name and "attach_mode=single" in name for name in cloud.opened)


@pytest.mark.parametrize("command", ["ingest", "export", "train"])
def test_a_missing_token_is_said_before_the_driver_is_asked(tmp_path, cloud, monkeypatch, capsys, command):
    monkeypatch.setenv("MOTHERDUCK_TOKEN", "  ")
    arguments = {
        "ingest": ["ingest", "python_qa", "--to", "md:shop"],
        "export": ["data", "export", "md:shop", "--out", str(tmp_path / "out.parquet")],
        "train": ["train", "--preset", "smoke", "--quiet", "--run-dir", str(tmp_path / "run"), "--data", "md:shop"],
    }
    assert main(arguments[command]) == USAGE_ERROR
    assert capsys.readouterr().err == "error: MotherDuck needs a token: set MOTHERDUCK_TOKEN in the environment.\n"
    assert cloud.opened == []


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (INIT + f'"Invalid Error: {REFUSAL}"', "MotherDuck refused the token"),
        (f"{REFUSAL} (Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections)",
         "MotherDuck refused the token"),
        (f"{REFUSAL} (Jwt is expired: TOKEN)", "MotherDuck refused the token"),
        ("UNAUTHENTICATED: TOKEN", "MotherDuck refused the token"),
        ("Failed to download extension \"motherduck\" at URL \"http://x\"", "cannot be reached"),
        ("no database/share named 'shop' found\nsecond line", "md:shop cannot be used: IO Error: no database"),
        ("something else about TOKEN", "md:shop cannot be used: IO Error: something else about ***"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line_and_the_token_is_nowhere(
    tmp_path, cloud, capfd, caplog, data_folder, tiny_model_path, refusal, said
):
    caplog.set_level("DEBUG")
    main(["ingest", write_jsonl(tmp_path / "s.jsonl", questions(80)), "--to", "md:shop"])
    before = content(cloud.folder / "shop.duckdb")
    cloud.refusal = refusal
    capfd.readouterr()
    for command in (["ingest", "python_qa", "--to", "md:shop"], ["data", "export", "md:shop", "--out", "x.parquet"]):
        assert main(command) == USAGE_ERROR
        told = capfd.readouterr()
        assert said in told.err
        assert told.err.count("\n") == 1
        assert TOKEN not in told.out + told.err
    assert train("md:shop", tmp_path / "run", tiny_model_path) == USAGE_ERROR
    told = capfd.readouterr()
    assert said in told.err
    assert TOKEN not in told.out + told.err + caplog.text
    assert said in (tmp_path / "run" / "events.jsonl").read_text()
    assert TOKEN.encode() not in written(tmp_path / "run", data_folder)
    assert content(cloud.folder / "shop.duckdb") == before


@pytest.mark.parametrize(
    "name", ["md:shop?", "MD:shop?", " md:shop?", "motherduck:shop?", "md:?", "duckdb:f?", "shop?"]
)
def test_a_token_in_a_name_is_refused_and_not_repeated(tmp_path, capfd, cloud, data_folder, name):
    name += f"motherduck_token={TOKEN}"
    commands = (
        ["ingest", name, "--to", str(tmp_path / "t.duckdb")],
        ["ingest", "python_qa", "--to", name],
        ["data", "export", name, "--out", str(tmp_path / "out.parquet")],
        ["train", "--preset", "smoke", "--quiet", "--run-dir", str(tmp_path / "run"), "--data", name],
    )
    for command in commands:
        assert main(command) == USAGE_ERROR
        told = capfd.readouterr()
        assert told.err.count("\n") == 1
        assert TOKEN not in told.out + told.err
    assert cloud.opened == []
    assert TOKEN.encode() not in written(tmp_path)


@pytest.mark.parametrize(
    "where",
    [
        "current_setting('motherduck_token')::INTEGER = 1",
        "\"current_setting\"('motherduck_token') LIKE 'e%'",
        "(SELECT count(*) FROM duckdb_settings()) > 1",
        "EXISTS (FROM read_text('/etc/passwd'))",
        "Id IN (TABLE other)",
    ],
)
def test_a_condition_asks_for_the_row_alone(tmp_path, cloud, capsys, where):
    main(["ingest", write_jsonl(tmp_path / "s.jsonl", questions(20)), "--to", "md:shop"])
    with pytest.raises(UserError, match=r"^where= may ask for the columns of the row alone"):
        dataset.load(f"md:shop?where={where}")
