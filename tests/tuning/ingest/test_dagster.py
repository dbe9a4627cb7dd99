"""The pipeline as a Dagster job: the same table, checks that decide before it is touched, failures in one line.

Dagster has an environment of its own (see the README); elsewhere these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from math import comb
from pathlib import Path

import pytest

from tests.tuning.ingest.tables import TOKEN, content, file_place, query, questions, write_jsonl
from tuning.data.dataset import load
from tuning.data.place import EMBEDDED_SETS
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.errors import UserError
from tuning.ingest.load import ingest, stage_folder

dg = pytest.importorskip("dagster", reason="dagster is not installed: its tests have an environment of their own")
dagster_job = import_module("tuning.ingest.dagster_job")
ROOT = Path(__file__).parents[3]
DAGSTER = Path(sys.executable).with_name("dagster")
EXECUTE = [DAGSTER, "job", "execute", "-m", "tuning.ingest.dagster_job", "-j", "raw_data_save"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def execute(instance, source, target, job="raw_data_save", **options):
    config = {"resources": {"ingest": {"config": {"source": source, "target": str(target)}}}}
    job = dagster_job.defs.resolve_job_def(job)
    return job.execute_in_process(config, instance=instance, raise_on_error=False, **options)


def outcomes(run):
    return {found.check_name: found for found in run.get_asset_check_evaluations()}


def figures(run, asset):
    metadata = run.asset_materializations_for_node(asset)[0].metadata
    return {name: value.value for name, value in metadata.items()}


def failures(run):
    errors = [event.event_specific_data.error for event in run.all_events if event.is_failure]
    assert errors
    assert all(not error.stack and error.cause is None for error in errors)
    return {error.to_string() for error in errors}


def environment(folder, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER")}
    return {**kept, "LORA_LENS_DATA": str(folder), "DAGSTER_DISABLE_TELEMETRY": "1", **more}


def test_the_job_loads_what_ingest_loads_and_shows_its_figures(tmp_path, instance):
    rows = [*questions(200), *questions(2), {"instruction": "Empty?", "output": " "}]
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    facts = ingest(source, file_place(tmp_path / "ingest.duckdb")).facts
    run = execute(instance, source, tmp_path / "job.duckdb")
    assert run.success
    assert [row[:-1] for row in content(tmp_path / "job.duckdb")] == [
        row[:-1] for row in content(tmp_path / "ingest.duckdb")
    ]
    assert figures(run, "raw")["rows read"] == len(rows)
    for asset in ("modelled", "loaded"):
        shown = figures(run, asset)
        assert shown["dagster/row_count"] == facts.rows == 200
        assert shown["left out"] == facts.dropped == {"duplicate row": 2, "empty answer": 1}
        assert shown["snapshot"] == facts.snapshot
        assert {name: shown[f"rows of {name}"] for name in facts.splits} == facts.splits
    assert figures(run, "loaded")["rows added"] == 200
    assert outcomes(run).keys() == dagster_job.CHECKS.keys()
    assert all(found.passed for found in outcomes(run).values())
    assert not stage_folder(file_place(tmp_path / "job.duckdb")).exists()


def test_a_rerun_changes_nothing(tmp_path, instance):
    source = write_jsonl(tmp_path / "s.jsonl", questions(40))
    execute(instance, source, tmp_path / "t.duckdb")
    before = content(tmp_path / "t.duckdb")
    run = execute(instance, source, tmp_path / "t.duckdb")
    assert run.success
    assert content(tmp_path / "t.duckdb") == before
    assert figures(run, "loaded")["rows unchanged"] == 40


def test_a_table_may_be_called_by_a_word_of_sql(tmp_path, instance):
    run = execute(
        instance, write_jsonl(tmp_path / "s.jsonl", questions(20)), f"duckdb:{tmp_path / 't.duckdb'}?table=order"
    )
    assert run.success
    assert len(content(tmp_path / "t.duckdb", '"order"')) == 20


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        ("DELETE FROM modelled WHERE Id = (SELECT min(Id) FROM modelled)", "row_counts"),
        ("UPDATE modelled SET OutputAnswer = ' \n' WHERE Id = (SELECT min(Id) FROM modelled)", "no_empty_answers"),
        ("UPDATE modelled SET OutputAnswer = NULL WHERE Id = (SELECT min(Id) FROM modelled)", "no_empty_answers"),
        (
            f"UPDATE modelled SET QuestionAsked = 'Please: {PROBE_QUESTIONS['fibonacci']}' "
            "WHERE Id = (SELECT min(Id) FROM modelled)",
            "no_probe_leaked",
        ),
    ],
)
def test_rows_that_fail_a_check_leave_the_old_table(tmp_path, instance, monkeypatch, damage, check):
    target, whole = tmp_path / "t.duckdb", dagster_job.model
    execute(instance, write_jsonl(tmp_path / "old.jsonl", questions(40)), target)
    before = content(target)

    def damaged(folder):
        facts = whole(folder)
        with dagster_job.opened(folder) as stage:
            stage.execute(damage)
        return facts

    monkeypatch.setattr(dagster_job, "model", damaged)
    run = execute(instance, write_jsonl(tmp_path / "new.jsonl", questions(50, answer="new")), target)
    assert [name for name, found in outcomes(run).items() if not found.passed] == [check]
    assert outcomes(run)[check].severity == dg.AssetCheckSeverity.ERROR
    assert failures(run) == {f"The modelled rows fail {check}: the table questions of {target} is as it was."}
    assert not run.asset_materializations_for_node("loaded")
    assert content(target) == before
    assert not stage_folder(file_place(target)).exists()


def test_one_split_of_another_table_is_loaded_with_a_warning(tmp_path, instance):
    source = file_place(tmp_path / "all.duckdb")
    ingest(write_jsonl(tmp_path / "s.jsonl", questions(300)), source)
    run = execute(instance, f"{source.name}&where=DataSplit = 'test'", tmp_path / "t.duckdb")
    assert run.success
    assert [name for name, found in outcomes(run).items() if not found.passed] == ["split_shares"]
    assert outcomes(run)["split_shares"].severity == dg.AssetCheckSeverity.WARN
    assert {row[0] for row in query(tmp_path / "t.duckdb", "SELECT DataSplit FROM questions")} == {"test"}


@pytest.mark.parametrize("share", dagster_job.SHARES)
@pytest.mark.parametrize("rows", [1, 10, 300, 1000])
def test_chance_alone_almost_never_goes_beyond_what_is_allowed(rows, share):
    far = dagster_job.allowed(rows, share)
    beyond = (n for n in range(rows + 1) if abs(n - rows * share) > far)
    assert sum(comb(rows, n) * share**n * (1 - share) ** (rows - n) for n in beyond) < dagster_job.BY_CHANCE


def test_a_million_rows_are_allowed_a_quarter_of_a_percent():
    assert all(dagster_job.allowed(10**6, share) < 2500 for share in dagster_job.SHARES)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            "nonsense",
            "t.duckdb",
            f"There is no data source 'nonsense': name {', '.join(EMBEDDED_SETS)}, a file, a Hub data set",
        ),
        ("gone.jsonl", "t.duckdb", "There is no data file gone.jsonl."),
        ("python_qa", "md:db", "MotherDuck needs a token: set MOTHERDUCK_TOKEN in the environment."),
        ("python_qa", "md:db?token=x", "A token has no place in a name: put it into MOTHERDUCK_TOKEN."),
    ],
)
def test_a_bad_source_or_target_is_one_line_without_a_trace(tmp_path, instance, monkeypatch, source, target, message):
    monkeypatch.chdir(tmp_path)
    run = execute(instance, source, target)
    (line,) = failures(run)
    assert line.startswith(message)
    assert "\n" not in line
    assert not stage_folder(file_place(tmp_path / "t.duckdb")).exists()


def test_a_load_that_failed_is_repeated_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_INGEST_SOURCE", write_jsonl(tmp_path / "s.jsonl", questions(40)))
    target, whole = tmp_path / "t.duckdb", dagster_job.load
    config = {"resources": {"ingest": {"config": {"source": str(tmp_path / "s.jsonl"), "target": str(target)}}}}
    job = dg.build_reconstructable_job("test_dagster", "job_again", (), {}, str(Path(__file__).parent))

    def busy(folder, place):
        raise UserError("The file is in use.")

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        monkeypatch.setattr(dagster_job, "load", busy)
        with dg.execute_job(job, instance, run_config=config) as first:
            assert failures(first) == {"The file is in use."}
        (tmp_path / "s.jsonl").unlink()
        monkeypatch.setattr(dagster_job, "load", whole)
        again = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        with dg.execute_job(job, instance, run_config=config, reexecution_options=again) as second:
            assert second.success
            assert not second.asset_materializations_for_node("raw")
    assert len(content(target)) == 40
    assert not stage_folder(file_place(target)).exists()


def job_again():
    return dagster_job.defs.resolve_job_def("raw_data_save")


def test_a_step_without_what_the_steps_before_have_read_says_what_to_run(tmp_path, instance):
    source = write_jsonl(tmp_path / "s.jsonl", questions(40))
    assert execute(instance, source, tmp_path / "t.duckdb").success
    run = execute(instance, source, tmp_path / "t.duckdb", asset_selection=[dg.AssetKey("loaded")])
    assert failures(run) == {"What this run has read is gone, or was never read: run all of the job raw_data_save."}
    assert len(content(tmp_path / "t.duckdb")) == 40


@pytest.mark.parametrize("refusal", ["", "Jwt is expired: TOKEN"])
def test_the_token_is_in_no_event_and_in_no_run_config(tmp_path, instance, cloud, capfd, refusal):
    cloud.refusal = refusal
    run = execute(instance, write_jsonl(tmp_path / "s.jsonl", questions(20)), "md:shop")
    if refusal:
        assert failures(run) == {"MotherDuck refused the token: make a new one and set MOTHERDUCK_TOKEN."}
    else:
        assert run.success
        assert len(content(cloud.folder / "shop.duckdb")) == 20
    written = [str(instance.get_run_by_id(run.run_id)), *map(str, instance.all_logs(run.run_id)), *capfd.readouterr()]
    assert not any(TOKEN in text for text in written)


def test_the_command_works_as_it_is_and_as_the_environment_says(tmp_path):
    plain = subprocess.run(EXECUTE, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    assert query(tmp_path / "lora_lens.duckdb", "SELECT count(*) FROM questions") == [(len(load()),)]
    chosen = {f"LORA_LENS_INGEST_{name}": value for name, value in (("SOURCE", "nonsense"), ("TABLE", "other"))}
    bad = subprocess.run(
        EXECUTE, cwd=ROOT, env=environment(tmp_path, **chosen), capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    embedded = ", ".join(EMBEDDED_SETS)
    assert f"\nThere is no data source 'nonsense': name {embedded}, a file, a Hub data set" in bad.stderr
    assert "Traceback" not in bad.stderr
    assert "Stack Trace" not in bad.stderr
    assert query(tmp_path / "lora_lens.duckdb", "SELECT table_name FROM duckdb_tables()") == [("questions",)]


@pytest.mark.browser
def test_dagster_dev_shows_the_graph(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: install Debian's package chromium")
    command = [DAGSTER, "dev", "-m", "tuning.ingest.dagster_job", "--port", "0"]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        lines = iter(server.stdout.readline, "")
        address = next(line for line in lines if "Serving dagster-webserver on" in line).split(" on ")[1].split()[0]
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"{address}/locations/__repository__@tuning.ingest.dagster_job/asset-groups/ingest/lineage")
            for asset in ("raw", "modelled", "loaded"):
                page.get_by_text(asset, exact=True).first.wait_for()
            browser.close()
    finally:
        # Dagster's own end can wait for ever on a child of it: its whole session is ended instead.
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
