"""How a judge is asked: an OpenAI-compatible endpoint, or a model in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from eval_prompts.serving.endpoint import Endpoint, reason_in
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.serving.lens import Lens

MOST_TOKENS = 256
ATTEMPTS, PAUSE_SECONDS = 3, 0.5
KEY_VARIABLE = "LORA_LENS_JUDGE_KEY"
Reply = Callable[[str], str]
"""The judge's words on a prompt. Raises UserError where it does not answer, JudgeGone where it never will."""


class JudgeGone(UserError):
    """The judge is not there any more, and somebody else would answer in its name."""


def endpoint_reply(endpoint: Endpoint, seconds: float = 60.0) -> Reply:
    """Replies of an OpenAI-compatible endpoint, tried three times each; one takes at most ``seconds``."""
    import httpx

    client = httpx.Client(timeout=seconds, headers=endpoint.headers)

    def reply(prompt: str) -> str:
        body = {
            "model": endpoint.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": MOST_TOKENS,
            "temperature": 0,
        }
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_SECONDS * attempt)
            try:
                response = client.post(f"{endpoint.url}/chat/completions", json=body)
                if response.status_code in (408, 429) or response.status_code >= 500:
                    reason = f"it answers {response.status_code}"
                    continue
                if response.is_error:
                    raise UserError(f"The judge refused ({response.status_code}): {_said(response.content)}.")
                content = response.json()["choices"][0]["message"]["content"]
                return content if isinstance(content, str) else ""
            except (httpx.InvalidURL, httpx.UnsupportedProtocol):
                raise UserError("The judge's address is not a URL: check it (--judge-url).") from None
            except httpx.TimeoutException:
                reason = f"no reply within {seconds:g} s"
            except httpx.TransportError:
                reason = "no connection"
            except (ValueError, KeyError, IndexError, TypeError):
                raise UserError("The judge is no OpenAI-compatible endpoint: its address ends with /v1.") from None
        raise UserError(f"The judge does not answer ({reason}): is its server up, and is its address right?")

    return reply


def local_reply(lens: Lens, background: bool = False) -> Reply:
    """Replies of the base that ``lens`` has now; in the ``background`` everybody else is answered first. Where another
    one answers in its place, a reply raises JudgeGone."""
    from eval_prompts.answers import Settings
    from tuning.data.chat import PLAIN_FORMAT

    began = lens.status()

    def check() -> None:
        now = lens.status()
        if now.fingerprint != began.fingerprint or now.against is not began.against:
            raise JudgeGone(
                "The models were changed, so the judge is no longer loaded: open it again, then start it once more."
            )

    def reply(prompt: str) -> str:
        check()
        settings = Settings(max_new_tokens=MOST_TOKENS)
        try:
            (answer,) = lens.ask([prompt], settings, ("base",), format=PLAIN_FORMAT, background=background).result()
        except UserError:
            check()  # that the judge has gone says more than what became of the answer
            raise
        check()  # the answer may be the new one's
        return answer.text

    return reply


def _said(body: bytes) -> str:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return "it gives no reason"
    return reason_in(said) if isinstance(said, dict) else "it gives no reason"
