"""Short answers: random models write nonsense, and each token costs a step."""

from __future__ import annotations

import pytest


@pytest.fixture
def short(monkeypatch):
    from tuning.exports.certify import measure

    monkeypatch.setattr(measure, "ANSWER_TOKENS", 10)
    monkeypatch.setattr(measure, "GOLD_TOKENS", 8)
