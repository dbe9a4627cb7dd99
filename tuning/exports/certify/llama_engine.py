"""llama.cpp as an engine: what Ollama, LM Studio and llama-server run."""

from __future__ import annotations

import importlib.util
import json
import math
import select
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuning.data.chat import Message
from tuning.errors import UserError
from tuning.exports.certify.engine import Answer, Place
from tuning.runs.helper_process import environment

MODULE = "tuning.exports.certify.llama_process"
MISSING = "llama.cpp is not installed here, so the file was not checked: pip install 'lora-lens[gguf]'."
START_SECONDS = 180.0
REQUEST_SECONDS = 300.0
LIKELIEST = 128
"""Tokens whose log-probabilities are asked for at each place; the rest counts as one."""
EVERYTHING = 1 << 20
"""More tokens than any vocabulary has."""
CERTAIN = 1000.0


def installed() -> bool:
    """Whether llama.cpp can be had here."""
    return importlib.util.find_spec("xllamacpp") is not None


class LlamaCpp:
    """A GGUF, perhaps with a LoRA-GGUF beside it, in a server process of its own."""

    def __init__(self, model: Path, adapter: Path | None = None) -> None:
        """Raises UserError if llama.cpp is missing or does not open the file."""
        if not installed():
            raise UserError(MISSING)
        self.name = "llama.cpp"
        self._letter: int | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        command = [sys.executable, "-m", MODULE, str(model), *([str(adapter)] if adapter else [])]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment()
        )
        try:
            self._address = self._wait()
            self.settings = self._get("/props")
        except BaseException:
            self.close()
            raise

    def _wait(self) -> str:
        """The server's address. Raises UserError with llama.cpp's own reason if it does not come up."""
        assert self._process.stdout is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if select.select([self._process.stdout], [], [], 0.1)[0]:
                line = self._process.stdout.readline()
                if line.startswith("http"):
                    return line.strip()
                if not line:
                    break
            elif self._process.poll() is not None:
                break
        raise UserError(f"llama.cpp does not open the file: {self._reason()}.")

    def _reason(self) -> str:
        """The last line of llama.cpp's log that names an error."""
        self._process.kill()
        self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        telling = [line for line in lines if "error" in line.lower() or "assert" in line.lower()]
        return (telling or lines or ["it ended without a word"])[0].rstrip(".")[:300]

    def _get(self, path: str) -> dict[str, Any]:
        return self._call(urllib.request.Request(self._address + path))

    def _post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(content).encode()
        return self._call(urllib.request.Request(self._address + path, body, {"Content-Type": "application/json"}))

    def _call(self, request: urllib.request.Request) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=REQUEST_SECONDS) as reply:
                found: dict[str, Any] = json.load(reply)
        except urllib.error.HTTPError as error:
            raise UserError(f"llama.cpp refuses: {said(error)}.") from error
        except (OSError, ValueError) as error:
            raise UserError(f"llama.cpp ended while it was asked ({type(error).__name__}).") from error
        return found

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """As :class:`Engine` says: through the file's own template and vocabulary."""
        prompt = self._post("/apply-template", {"messages": [dict(each) for each in messages]})["prompt"]
        return self.tokens_of(str(prompt))

    def tokens_of(self, prompt: str) -> list[int]:
        """The tokens of a rendered prompt, with the begin token where the file asks for one."""
        content = {"content": prompt, "add_special": True, "parse_special": True}
        return [int(token) for token in self._post("/tokenize", content)["tokens"]]

    def answer(self, prompt: Sequence[int], most: int) -> Answer:
        """As :class:`Engine` says."""
        reply = self._complete(prompt, {"n_predict": most})
        tokens = [int(token) for token in reply["tokens"]]
        told = reply.get("completion_probabilities", [])
        whole = [int(entry["id"]) for entry in told] == tokens
        # The server tells nothing of tokens that are a part of a character alone: those are read one by one.
        places = [place_of(entry) for entry in told] if whole else self.read(prompt, tokens)
        return Answer(tuple(tokens), tuple(places), reply.get("stop_type") == "eos")

    def read(self, prompt: Sequence[int], text: Sequence[int]) -> list[Place]:
        """As :class:`Engine` says. Each token costs one step, because what goes before is kept from the step before.

        A token that is not among the likeliest has all of them told. What is written at each step is a letter that is
        made certain, since something must be; what is told are the probabilities before that.
        """
        if self._letter is None:
            self._letter = self._post("/tokenize", {"content": "a", "add_special": False})["tokens"][-1]
        forced = {"n_predict": 1, "logit_bias": [[self._letter, CERTAIN]]}
        found: list[Place] = []
        for place in range(len(text)):
            told = self._complete([*prompt, *text[:place]], forced).get("completion_probabilities")
            if not told:
                raise UserError("llama.cpp tells no probabilities, so the file cannot be compared.")
            here = place_of(told[0])
            if here.of(text[place]) is None:
                everything = forced | {"n_probs": EVERYTHING}
                here = place_of(self._complete([*prompt, *text[:place]], everything)["completion_probabilities"][0])
            found.append(here)
        return found

    def ends_at(self, token: int) -> bool:
        """As :class:`Engine` says: the token is made certain, and whether the answer stops is seen."""
        reply = self._post(
            "/completion",
            {"prompt": [token], "n_predict": 2, "temperature": 0, "logit_bias": [[token, CERTAIN]]},
        )
        return reply.get("stop_type") == "eos"

    def text_of(self, tokens: Sequence[int]) -> str:
        """As :class:`Engine` says."""
        return str(self._post("/detokenize", {"tokens": list(tokens)})["content"])

    def vocabulary(self) -> list[str]:
        """As :class:`Engine` says: the server tells none."""
        return []

    def _complete(self, prompt: Sequence[int], options: dict[str, Any]) -> dict[str, Any]:
        content = {
            **{"prompt": list(prompt), "temperature": 0, "n_probs": LIKELIEST, "cache_prompt": True},
            **{"return_tokens": True, "samplers": ["temperature"], **options},
        }
        return self._post("/completion", content)

    def close(self) -> None:
        """As :class:`Engine` says."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._log.close()


def place_of(entry: dict[str, Any]) -> Place:
    """One entry of the server's ``completion_probabilities``."""
    import torch

    top = entry["top_logprobs"]
    values = torch.tensor([math.nan if (told := one["logprob"]) is None else told for one in top], dtype=torch.float64)
    return Place(torch.tensor([int(one["id"]) for one in top]), values.clamp(min=-1e4))


def said(error: urllib.error.HTTPError) -> str:
    """The server's own words for a refusal."""
    try:
        return str(json.load(error)["error"]["message"]).rstrip(".")
    except (ValueError, KeyError, TypeError, OSError):
        return f"status {error.code}"
