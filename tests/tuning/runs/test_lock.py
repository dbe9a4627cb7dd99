"""Who trains on this machine, as others see it."""

from tuning import files
from tuning.runs import lock
from tuning.runs.folder import WORKER_FILE


def test_a_run_that_has_a_worker_is_the_one_that_trains(monkeypatch, tmp_path):
    monkeypatch.setenv(files.DATA_VARIABLE, str(tmp_path))
    folder, write, seen = tmp_path / "run", lock.write_json, []
    folder.mkdir()

    def write_and_look(path, content):
        write(path, content)
        if (folder / WORKER_FILE).exists():
            seen.append(lock.current())

    monkeypatch.setattr(lock, "write_json", write_and_look)
    with lock.working_on(folder):
        assert lock.current() == folder
    assert seen == [folder]
    assert lock.current() is None
