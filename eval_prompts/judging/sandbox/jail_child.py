"""Runs inside the jail: takes commands as lines of JSON on stdin, answers on stdout. Needs the standard library only.

It shares its process with the code under test, so whatever it says may be forged. It therefore says nothing but data:
no verdict, no expected value and no secret is ever here. ``encode`` and ``decode`` are the one format of both ends.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import sys
from typing import Any

PRINTED_LIMIT = 64 * 1024
PROCESS_LIMIT = 256
COLLECTIONS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: object, depth: int = 0) -> Any:
    """``value`` as JSON: simple values as they are, everything else as ``[kind, content]``.

    Raises ValueError for a nesting deeper than 60. A value of a class derived from a built-in type becomes one of that
    type, an array of numpy lists of numbers, and any other object ``["opaque", class]``.
    """
    if depth > 60:
        raise ValueError("nested too deeply")
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        whole = int.__int__(value)
        return whole if abs(whole) < 2**53 else ["int", hex(whole)]
    if isinstance(value, float):
        return ["float", float.hex(value)]
    if isinstance(value, complex):
        return ["complex", [value.real.hex(), value.imag.hex()]]
    if isinstance(value, bytes):
        return ["bytes", bytes.hex(value)]
    for name, kind in COLLECTIONS.items():
        if isinstance(value, kind):
            return [name, [encode(part, depth + 1) for part in kind.__iter__(value)]]
    if isinstance(value, dict):
        return ["dict", [[encode(key, depth + 1), encode(part, depth + 1)] for key, part in dict.items(value)]]
    return ["opaque", type(value).__name__]


def decode(data: Any) -> Any:
    """The value that ``encode`` made ``data`` of. Raises ValueError or TypeError for data of any other form."""
    if data is None or type(data) in (bool, int, str):
        return data
    kind, content = data
    if kind == "int":
        return int(content, 16)
    if kind == "float":
        return float.fromhex(content)
    if kind == "complex":
        real, imaginary = content
        return complex(float.fromhex(real), float.fromhex(imaginary))
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind in COLLECTIONS:
        return COLLECTIONS[kind](decode(part) for part in content)
    if kind == "dict":
        return {decode(key): decode(part) for key, part in content}
    raise ValueError(f"no plain data: {kind!r:.40}")


class _TooMuchError(BaseException):
    """Ends a program that prints without end; no ``except Exception`` of its own stops it."""


class _OutOfInputError(EOFError):
    """Nothing is left to type."""


class _Printed(io.StringIO):
    def write(self, text: str) -> int:
        if self.tell() + len(text) > PRINTED_LIMIT:
            super().write(text[: max(PRINTED_LIMIT - self.tell(), 0)])
            raise _TooMuchError
        return super().write(text)


class _Jailed:
    def __init__(self) -> None:
        self.commands = os.fdopen(os.dup(0), encoding="utf-8")
        self.replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        self.names: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        self.asked = 0
        builtins.input = self.ask

    def serve(self) -> None:
        for line in self.commands:
            command = json.loads(line)
            sys.stdout = printed = _Printed()
            self.asked = 0
            reply = self.perform(command)
            reply["printed"], reply["asked"] = printed.getvalue(), self.asked
            self.send(reply)

    def perform(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            self.names.update({name: decode(data) for name, data in command.get("values", {}).items()})
            if "source" in command:
                exec(compile(command["source"], "<answer>", "exec"), self.names)
                return {"state": "ok", "value": None}
            return {"state": "ok", "value": encode(eval(compile(command["expression"], "<call>", "eval"), self.names))}
        except SystemExit as error:
            reason = f"ends the program itself (exit code {error.code!r:.60})"
            return {"state": "exited", "reason": reason, "failing": error.code not in (0, None, False)}
        except ModuleNotFoundError as error:
            return {"state": "lacking", "reason": f"needs the module {error.name}, which is not installed here"}
        except MemoryError:
            return {"state": "limit", "reason": "needed too much memory and was stopped"}
        except _TooMuchError:
            return {"state": "limit", "reason": f"printed more than {PRINTED_LIMIT:,} characters"}
        except BaseException as error:
            kind = "EOFError" if isinstance(error, _OutOfInputError) else type(error).__name__
            words = f"{error!s:.200}"
            reply = {"state": "raised", "reason": f"{kind}: {words}{_line(error)}", "error": kind, "message": words}
            return {**reply, "out_of_input": isinstance(error, _OutOfInputError)}

    def ask(self, prompt: object = "") -> str:
        self.asked += 1
        sys.stdout.write(str(prompt))
        self.send({"ask": str(prompt)[:1000]})
        answer = json.loads(self.commands.readline())
        if "line" not in answer:
            raise _OutOfInputError("asks for more input than there is")
        return str(answer["line"])

    def send(self, reply: dict[str, Any]) -> None:
        self.replies.write(json.dumps(reply) + "\n")
        self.replies.flush()


def _line(error: BaseException) -> str:
    lines, trace = [], error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<answer>":
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]})" if lines else ""


def _limit(cpu_seconds: int, memory_mb: int, file_mb: int) -> None:
    import resource

    for what, amount in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_mb << 20),
        (resource.RLIMIT_FSIZE, file_mb << 20),
        (resource.RLIMIT_NPROC, PROCESS_LIMIT),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (amount, amount))


if __name__ == "__main__":
    _limit(*(int(argument) for argument in sys.argv[1:4]))
    _Jailed().serve()
