"""What is read of uvicorn's protocol is there, and uvicorn still has no limits of its own for it."""

import inspect

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from space_config.server.connections import check_uvicorn
from tuning.errors import UserError


def test_uvicorn_has_no_time_limit_for_a_request_that_does_not_come():
    check_uvicorn()
    times = {name for name in inspect.signature(uvicorn.Config).parameters if "timeout" in name}
    known = {"keep_alive", "notify", "graceful_shutdown", "worker_healthcheck"}
    assert times <= {f"timeout_{name}" for name in known} | {"ws_ping_timeout"}, "a new one: ours may go"


def test_a_uvicorn_that_serves_otherwise_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.delattr(H11Protocol, "data_received")
    with pytest.raises(UserError, match=r"does not know uvicorn .*H11Protocol\.data_received"):
        check_uvicorn()
