import pytest

from tuning import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(target):
    with files.replacing(target) as fresh:
        fresh.write_text("half of it")
        raise RuntimeError


def make_half(folder):
    with files.replacing(folder) as fresh:
        fresh.mkdir()
        (fresh / "part").write_text("half")
        raise KeyboardInterrupt


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "note.txt"
    files.write_whole(target, "läuft\n")
    assert target.read_bytes() == "läuft\n".encode()
    files.write_whole(target, b"\0\n")
    assert target.read_bytes() == b"\0\n"
    with pytest.raises(RuntimeError):
        write_half(target)
    assert target.read_bytes() == b"\0\n"
    assert names(tmp_path) == ["note.txt"]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make_half(tmp_path / "made")
    assert names(tmp_path) == []


def test_what_json_has_no_word_for_is_not_written(tmp_path):
    target = tmp_path / "figures.json"
    files.write_json(target, {"loss": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(target, {"loss": float("nan")})
    assert target.read_text() == '{"loss": 1.5}\n'


def test_a_crash_between_the_two_moves_of_a_folder_is_mended(tmp_path):
    folder, fresh = tmp_path / "adapter", tmp_path / "adapter.new"
    for place, text in ((folder, "first"), (fresh, "second")):
        place.mkdir()
        (place / "weights").write_text(text)
    files.replace_folder(fresh, folder)
    assert (folder / "weights").read_text() == "second"
    folder.rename(tmp_path / "adapter.old")
    files.recover_folder(folder)
    assert (folder / "weights").read_text() == "second"
    assert names(tmp_path) == ["adapter"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  \n two \nthree"), "two"),
        (ValueError(), "ValueError"),
        (KeyError("name"), "'name'"),
        ("said\nmore", "said"),
    ],
)
def test_the_first_line_of_an_error(error, line):
    assert files.first_line(error) == line


def test_an_error_and_its_name():
    assert files.named_line(ValueError("bad\nvery")) == "ValueError: bad"
    assert files.named_line(ValueError()) == "ValueError"


def test_hub_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.is_hub_name("HuggingFaceTB/SmolLM2-135M-Instruct")
    for name in ("/a/b", "./a", "~/a", "a", "a/b/c", "a/", "/a", "a b/c", "", "../a", "a\\b/c", "duckdb:a/b"):
        assert not files.is_hub_name(name), name
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert not files.is_hub_name("models/mine")
