"""Run every answer of a JSONL file with its check, in a process of its own; prints the indexes that fail, as JSON.

Usage: run_checks.py FILE [EMPTY]. With EMPTY, the answers are replaced by nothing: every check must then fail.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import sys
from pathlib import Path

SECONDS = 2


def passes(code: str, check: str) -> bool:
    namespace = {"__name__": "__main__"}
    printed = io.StringIO()
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "answer", "exec", dont_inherit=True), namespace)
            namespace["stdout"] = printed.getvalue()
            exec(compile(check, "check", "exec", dont_inherit=True), namespace)
    except BaseException:
        return False
    finally:
        signal.alarm(0)
    return True


def main(path: str, empty: bool) -> None:
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    failed = []
    for index, row in enumerate(rows):
        code = "" if empty else re.search(r"```python\n(.*?)```", row["output"], re.DOTALL).group(1)
        if not passes(code, row["check"]):
            failed.append(index)
    print(json.dumps(failed))


main(sys.argv[1], empty=len(sys.argv) > 2)
