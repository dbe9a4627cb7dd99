"""What the tests of the data pipeline share: small sources, and a data folder of their own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """No test reads or writes the user's data folder, and none has a token unless it says so."""
    folder = tmp_path / "data-folder"
    monkeypatch.setenv("LORA_LENS_DATA", str(folder))
    for name in ("MOTHERDUCK_TOKEN", "motherduck_token"):
        monkeypatch.delenv(name, raising=False)
    return folder
