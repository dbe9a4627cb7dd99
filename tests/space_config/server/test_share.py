"""The address to share: the one that others reach, as text and as a code that holds the same."""

from __future__ import annotations

import pytest

from space_config.server import share
from space_config.server.owner import Owner
from space_config.server.roles import Role


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("0.0.0.0", "http://192.168.1.5:7860/"),
        ("::", "http://192.168.1.5:7860/"),
        ("10.0.0.7", "http://10.0.0.7:7860/"),
        ("fd00::1", "http://[fd00::1]:7860/"),
        ("lens.example", "http://lens.example:7860/"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("localhost", ""),
    ],
)
def test_the_address_is_the_one_that_others_reach(monkeypatch, host, expected):
    monkeypatch.setattr(share, "own_address", lambda: "192.168.1.5")
    assert share.address(host, 7860) == expected


def test_a_machine_without_a_network_has_none_to_share(monkeypatch):
    monkeypatch.setattr(share, "own_address", lambda: "")
    assert share.address("0.0.0.0", 7860) == ""


def test_the_codes_are_drawn_and_the_owner_alone_is_shown_one():
    assert len(share.code_for_terminal("http://192.168.1.5:7860/").splitlines()) > 10
    assert share.code_for_page("http://192.168.1.5:7860/").startswith("<svg")
    owner = Owner("correct horse")
    owner.shared = "http://192.168.1.5:7860/"
    assert b"<svg" in owner.page(Role.OWNER).body
    assert b"192.168.1.5" not in owner.page(Role.VISITOR).body
