"""The deployment's whole way: a stand-in of the Hub that says where the app runs, and the app itself."""

from __future__ import annotations

import pytest

from space_config.space import deploy
from tests.space_config.space.hub_stand_in import TOKEN, Hub
from tuning.errors import UserError


def test_a_deployment_ends_with_answers_from_the_live_app(app, monkeypatch, capsys):
    hub = Hub(host=app.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    from huggingface_hub import HfApi

    try:
        assert deploy.main(["--repo-id", "ann/lens"], api=HfApi(endpoint=hub.url), look_seconds=0) == 0
    finally:
        hub.close()
    told = capsys.readouterr().out
    assert "ann/lens: running" in told
    assert f"{app.url} is ready, and both sides answer" in told
    assert TOKEN not in told


def test_a_live_app_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match=r"^The live app at http://127.0.0.1:9/ does not answer .*[.]$"):
        deploy.smoke_test("http://127.0.0.1:9/", None)
