"""A PostgreSQL server of one's own, where it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

UNPRIVILEGED = ("postgres", "nobody")
OPTIONS = "-c listen_addresses= -k {folder}"


class Unavailable(Exception):
    """Why there can be no server here."""


def program(name: str) -> str:
    """A program of PostgreSQL's, which Debian keeps out of the PATH."""
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    if found is None:
        raise Unavailable(f"PostgreSQL's {name} is not installed")
    return found


def other_user() -> str | None:
    """Whom the server runs as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in UNPRIVILEGED if name in known), None)
    if user is None:
        raise Unavailable("PostgreSQL does not run as root, and there is no other user")
    return user


@contextmanager
def server() -> Iterator[str]:
    """The URL of a fresh server, reached through a socket in its own folder. Raises Unavailable where it cannot be."""
    if find_spec("psycopg") is None:
        raise Unavailable("psycopg is not installed")
    initdb, control, user = program("initdb"), program("pg_ctl"), other_user()
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        if user is not None:
            shutil.chown(folder, user)

        def run(*command: str) -> None:
            done = subprocess.run(
                command, user=user, group=user and pwd.getpwnam(user).pw_gid, extra_groups=None if user is None else [],
                cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                check=False,
            )  # fmt: skip
            if done.returncode:
                raise Unavailable(f"{command[0]} failed: {(done.stdout.splitlines() or ['no word'])[-1]}")

        data = f"{folder}/data"
        run(initdb, "-D", data, "-U", "lens", "-A", "trust", "-E", "UTF8", "--no-sync")
        run(control, "-D", data, "-l", f"{folder}/log", "-o", OPTIONS.format(folder=folder), "-w", "start")
        try:
            yield f"postgres://lens@/postgres?host={folder}"
        finally:
            run(control, "-D", data, "-m", "immediate", "-w", "stop")
