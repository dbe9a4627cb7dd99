"""What Dagster shows of an error, which it words itself unless it is told otherwise."""

from __future__ import annotations

from dagster._core.errors import DagsterUserCodeProcessError
from dagster._utils.error import SerializableErrorInfo

from tuning.upstream.expected import expect, parameters


def step_error(message: str) -> Exception:
    """An exception that fails a step with ``message`` alone.

    Why: whatever else is raised in a step, ``dagster.Failure`` too, is shown with its traceback. Raises UserError for
    a Dagster that does it otherwise.
    """
    expect(parameters(SerializableErrorInfo)[:3] == ["message", "stack", "cls_name"], "dagster", "its error")
    error: Exception = DagsterUserCodeProcessError.from_error_info(SerializableErrorInfo(message, [], "UserError"))
    return error
