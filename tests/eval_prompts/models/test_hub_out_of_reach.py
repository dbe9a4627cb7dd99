"""What is gone on without where the Hub cannot be had, and what is not passed over as such."""

from __future__ import annotations

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from eval_prompts.models.adapter_source import HubName, files_on_hub, find
from tuning.data import hub_data
from tuning.errors import UserError
from tuning.models import hub

TRANSPORT = HfHubHTTPError.__bases__[0]
REFUSALS = [
    ConnectionError("offline"),
    TimeoutError("slow"),
    LocalEntryNotFoundError("nothing cached"),
    HfHubHTTPError("500", response=httpx.Response(500, request=httpx.Request("GET", "https://hub.example"))),
    TRANSPORT("no route"),
    HFValidationError("no name"),
]


class Unforeseen(ArithmeticError):
    """A fault of the program."""


@pytest.fixture
def break_hub(monkeypatch):
    """Has every question to the Hub end in an exception."""

    def with_error(error):
        def refuse(*_, **__):
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
        for name in ("dataset_info", "list_repo_files", "model_info"):
            monkeypatch.setattr(huggingface_hub.HfApi, name, refuse)

    return with_error


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_where_the_hub_cannot_be_had_work_goes_on_without(break_hub, error):
    break_hub(error)
    assert hub.cached("owner/name", None) is None
    assert hub_data.revision_of("owner/rows") == ""
    assert files_on_hub(HubName("owner/name")) == []
    with pytest.raises(UserError, match=type(error).__name__):
        find("owner/name")
    if not isinstance(error, HFValidationError):  # that one is said
        assert hub.size("owner/name", None) is None


def test_a_fault_of_the_program_is_not_taken_for_the_hubs(break_hub):
    break_hub(Unforeseen())
    for work in (
        lambda: hub.cached("owner/name", None),
        lambda: hub.size("owner/name", None),
        lambda: hub_data.revision_of("owner/rows"),
        lambda: files_on_hub(HubName("owner/name")),
        lambda: find("owner/name"),
    ):
        with pytest.raises(Unforeseen):
            work()
