"""The pipeline for Dagster: ``dagster job execute -m tuning.ingest.dagster_job -j raw_data_save``.

Each asset is one step of :func:`tuning.ingest.load.ingest`, and may run in a process of its own: between them lies the
stage, in a folder of this run's. Checks of severity ERROR decide before the table is touched.

Dagster reads the annotations of assets, so they are not postponed here.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import log, sqrt
from pathlib import Path

import dagster as dg
from duckdb import DuckDBPyConnection
from pydantic import Field

from tuning.data import cleaning
from tuning.data.place import DEFAULT_TABLE, EMBEDDED, Place, parse_target
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.errors import UserError
from tuning.ingest.load import check_target, held, load
from tuning.ingest.snapshot import count
from tuning.ingest.stage import MODEL_ROWS, Facts, model, opened, read_facts, read_raw
from tuning.ingest.warehouse import connected
from tuning.upstream.dagster_parts import step_error

VARIABLES = {name: f"LORA_LENS_INGEST_{name.upper()}" for name in ("source", "target", "table")}
SHARES = (cleaning.TRAIN_SHARE, cleaning.VALIDATION_SHARE, 1 - cleaning.TRAIN_SHARE - cleaning.VALIDATION_SHARE)
BY_CHANCE = 1e-6
CHECKS = {
    "row_counts": "Every row that was read is modelled or counted as left out.",
    "no_empty_answers": "Every question has an answer.",
    "no_probe_leaked": "No question repeats one of the five probe questions.",
    "split_shares": "The splits hold 80, 10 and 10 percent, give or take chance; a part of another table may not.",
    "table_rows": "The table holds as many rows as were modelled.",
}


class Ingest(dg.ConfigurableResource):
    """What is loaded, and where to. MotherDuck's token is no part of it: that is in MOTHERDUCK_TOKEN alone."""

    source: str = Field(EMBEDDED, description="python_qa, a file, a Hub data set (OWNER/NAME), or a table")
    target: str | None = Field(None, description="a DuckDB file, or md:DATABASE; default: a file in the data folder")
    table: str | None = Field(None, description=f"the table's name; default: {DEFAULT_TABLE}")


def check(asset: str, name: str, blocking: bool = False) -> dg.AssetCheckSpec:
    """A check of an asset; a blocking one keeps what comes after from running."""
    return dg.AssetCheckSpec(name, asset=asset, description=CHECKS[name], blocking=blocking)


@dg.asset(group_name="ingest", kinds={"duckdb"})
def raw(context: dg.AssetExecutionContext, ingest: Ingest) -> dg.MaterializeResult:
    """The source as it is, one question with its answer per row."""
    with one_line_errors():
        check_target(target_of(ingest))
    with stage_of(context, ingest) as (folder, _):
        remove(folder)
        with removed_on_failure(folder):
            facts = read_raw(ingest.source, folder)
            return dg.MaterializeResult(
                metadata={
                    "source": facts.source,
                    "source revision": facts.revision,
                    "rows read": facts.read,
                    "unusable": dg.MetadataValue.json(facts.dropped),
                }
            )


@dg.asset(
    group_name="ingest",
    kinds={"duckdb"},
    deps=[raw],
    check_specs=[
        *(check("modelled", name, blocking=True) for name in ("row_counts", "no_empty_answers", "no_probe_leaked")),
        check("modelled", "split_shares"),
    ],
)
def modelled(context: dg.AssetExecutionContext, ingest: Ingest) -> Iterator[dg.MaterializeResult]:
    """Cleaned rows without duplicates, split and hashed as training does it."""
    with stage_of(context, ingest) as (folder, place), removed_on_failure(folder):
        with opened(existing(folder)) as stage:
            before = read_facts(stage)
        facts = model(folder)
        with opened(folder) as stage:
            results = [row_counts(stage, before, facts), no_empty_answers(stage), no_probe_leaked(stage)]
        yield dg.MaterializeResult(metadata=described(facts), check_results=[*results, split_shares(facts)])
        failed = [str(result.check_name) for result in results if not result.passed]
        if failed:
            raise UserError(f"The modelled rows fail {', '.join(failed)}: the {place.label} is as it was.")


@dg.asset(
    group_name="ingest",
    kinds={"duckdb"},
    deps=[modelled],
    check_specs=[check("loaded", "table_rows")],
)
def loaded(context: dg.AssetExecutionContext, ingest: Ingest) -> dg.MaterializeResult:
    """The table from which training reads; after a failure the step can be run again alone."""
    with stage_of(context, ingest) as (folder, place):
        done = load(existing(folder), place)
        with connected(place, read_only=True) as connection:
            rows = count(connection, place.identifier)
        remove(folder)
    context.log.info(str(done))
    changes = {"rows added": done.added, "rows removed": done.removed, "rows unchanged": done.unchanged}
    return dg.MaterializeResult(
        metadata={**described(done.facts), **changes, "train with": f"--data '{place.name}'"},
        check_results=[result("table_rows", rows == done.facts.rows, {"table": rows, "modelled": done.facts.rows})],
    )


@contextmanager
def stage_of(context: dg.AssetExecutionContext, ingest: Ingest) -> Iterator[tuple[Path, Place]]:
    """The folder of this run's stage and the table it is for, with no other load of the same target meanwhile.

    A run that repeats the failed steps of another has that one's folder.
    """
    run = context.run
    with one_line_errors():
        place = target_of(ingest)
        with held(place) as folder:
            yield folder / (run.root_run_id or run.run_id), place


def target_of(ingest: Ingest) -> Place:
    """The table to load into. Raises UserError if there is no such place."""
    return parse_target(ingest.target or None, ingest.table or None)


def existing(folder: Path) -> Path:
    """The same folder. Raises UserError if the steps before have not left their stage there."""
    if not folder.is_dir():
        raise UserError("What this run has read is gone, or was never read: run all of the job raw_data_save.")
    return folder


@contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """A context in which a failure frees the disk: no later step can go on from there."""
    try:
        yield
    except BaseException:
        remove(folder)
        raise


def remove(folder: Path) -> None:
    """Remove the stage of a run, and what a killed one has left beside it."""
    shutil.rmtree(folder.parent, ignore_errors=True)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A context in which a UserError fails the step with its one line; Dagster's own ``Failure`` shows a trace."""
    message = ""
    try:
        yield
    except UserError as error:
        message = str(error)
    if message:
        raise step_error(message)


def row_counts(stage: DuckDBPyConnection, before: Facts, facts: Facts) -> dg.AssetCheckResult:
    """Rows of ``raw`` against rows of ``modelled`` and what was left out in between."""
    read, kept = count(stage, "raw"), count(stage, "modelled")
    left_out = sum(facts.dropped.values()) - sum(before.dropped.values())
    counts = {"raw": read, "modelled": kept, "left out": left_out}
    return result("row_counts", read == kept + left_out == facts.rows + left_out, counts)


def no_empty_answers(stage: DuckDBPyConnection) -> dg.AssetCheckResult:
    """Rows whose question or answer is missing or blank."""
    blank = (f"NOT regexp_matches(coalesce({name}, ''), '\\S')" for name in ("QuestionAsked", "OutputAnswer"))
    found = count(stage, f"modelled WHERE {' OR '.join(blank)}")
    return result("no_empty_answers", not found, {"empty": found})


def no_probe_leaked(stage: DuckDBPyConnection) -> dg.AssetCheckResult:
    """Rows that repeat a probe question, by the rule of :func:`tuning.data.cleaning.clean_row`."""
    probes = cleaning.Excluded(PROBE_QUESTIONS.values())
    leaked = 0
    for batch in stage.sql("SELECT QuestionAsked || ' ' || QuestionInput FROM modelled").to_arrow_reader(MODEL_ROWS):
        leaked += sum(map(probes.repeated_in, batch.column(0).to_pylist()))
    return result("no_probe_leaked", not leaked, {"leaked": leaked})


def split_shares(facts: Facts) -> dg.AssetCheckResult:
    """Each split's rows against its share, a warning where chance alone would do that once in a million data sets."""
    counts = [facts.splits.get(name, 0) for name in cleaning.SPLITS]
    passed = all(
        abs(found - share * facts.rows) <= allowed(facts.rows, share)
        for found, share in zip(counts, SHARES, strict=True)
    )
    shares = {name: f"{found / facts.rows:.2%}" for name, found in zip(cleaning.SPLITS, counts, strict=True)}
    return result("split_shares", passed, shares, dg.AssetCheckSeverity.WARN)


def allowed(rows: int, share: float) -> float:
    """How far a count may lie from ``share * rows`` by chance: Bernstein's inequality solved for the distance."""
    odds = log(2 / BY_CHANCE)
    return odds / 3 + sqrt((odds / 3) ** 2 + 2 * odds * rows * share * (1 - share))


def result(
    name: str,
    passed: bool,
    metadata: dict[str, int] | dict[str, str],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """A check's outcome with the figures that it rests on."""
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=severity, metadata=metadata)


def described(facts: Facts) -> dict[str, dg.MetadataValue | int | str]:
    """What Dagster's page shows of a step; the first is its own name for a row count."""
    return {
        "dagster/row_count": facts.rows,
        **{f"rows of {name}": facts.splits.get(name, 0) for name in cleaning.SPLITS},
        "left out": dg.MetadataValue.json(facts.dropped),
        "snapshot": facts.snapshot,
        "source": facts.source,
        "source revision": facts.revision,
    }


raw_data_save = dg.define_asset_job(
    "raw_data_save", selection=[raw, modelled, loaded], description="Read a source, model it, and load its table."
)
defs = dg.Definitions(
    assets=[raw, modelled, loaded],
    jobs=[raw_data_save],
    resources={"ingest": Ingest(**{name: os.environ[key] for name, key in VARIABLES.items() if os.environ.get(key)})},
    executor=dg.in_process_executor,
)
