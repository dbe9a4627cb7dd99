"""What the body of a call or an upload may hold."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from space_config.server.calls import Refused, check_files, check_upload, parse
from tuning.data.reading.text_files import KINDS


@pytest.mark.parametrize(
    "path", ["http://192.0.2.1/x", "https://x", "file:///etc/passwd", "ftp://x", "/tmp/gradio/../../etc/passwd", "s3:x"]
)
def test_a_file_is_never_an_address(path):
    with pytest.raises(Refused):
        check_files({"data": [[{"deep": {"path": path, "meta": {"_type": "gradio.FileData"}}}]]})


def upload(name, content=b"text"):
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../../app.py", b"x"),
        ("..\\x.json", b"x"),
        ("%2e%2e%2fx.json", b"x"),
        (".json", b"x"),
        ("", b"x"),
        ("model.bin", b"x"),
        ("model.pt", b"x"),
        ("data.tar", b"PK\x03\x04"),
        ("data.json", b"PK\x03\x04zip"),
        ("data.jsonl", b"\x1f\x8bgzip"),
        ("data.gz", b"\x1f\x8bgzip"),
        ("data.tar.gz", b"\x1f\x8bgzip"),
        ("data.parquet.gz", b"\x1f\x8bgzip"),
        ("data.csv.gz", b"PK\x03\x04zip"),
    ],
)
def test_uploads_are_plain_files_of_known_kinds(name, content):
    with pytest.raises(Refused):
        check_upload(upload(name, content), "multipart/form-data; boundary=b")


def test_every_kind_of_data_that_the_forms_offer_is_let_through():
    """Text also compressed, each file by itself."""
    for kind in KINDS:
        check_upload(upload(f"rows{kind}", b"x"), "multipart/form-data; boundary=b")
    for name, content in (("rows.CSV.gz", b"\x1f\x8bgzip"), ("rows.jsonl.zst", b"\x28\xb5\x2f\xfd")):
        check_upload(upload(name, content), "multipart/form-data; boundary=b")


def test_an_upload_may_be_a_zip_and_speak_of_file_names():
    check_upload(upload("adapter.zip", b"PK\x03\x04"), "multipart/form-data; boundary=b")
    check_upload(upload("rows.jsonl", b'{"q": "filename=\\"../x.zip\\""}'), 'multipart/form-data; boundary="b"')


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(body):
    with suppress(Refused):
        assert isinstance(parse(body), dict)


def test_an_upload_without_a_name_is_refused():
    with pytest.raises(Refused, match="no name"):
        check_upload(b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n', "x; boundary=b")
