"""A text as two models on other machines see it: asked for in whichever way each of their servers can tell.

vLLM tells the log-probabilities of a whole conversation (``prompt_logprobs``). llama.cpp's server tells those of the
next token alone (``n_probs``), so a text is read in as many steps. Any other server is refused in a sentence: that some
echo a prompt with its log-probabilities does not help, since they do not tell how they write a conversation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.aligned import aligned_scores, stretches
from eval_prompts.lens.token_lens import Reading
from eval_prompts.lens.token_scores import TOP, SideScore
from eval_prompts.models.pair import SIDES
from eval_prompts.serving.endpoint import CONNECT_SECONDS, READ_SECONDS, Endpoint, refusal
from tuning.errors import UserError

if TYPE_CHECKING:
    import httpx

    from eval_prompts.models.pair import Side
    from tuning.data.chat import Message

LIKELIEST = 128
EVERYTHING = 1 << 20
CERTAIN = 1000.0
TOLD_NOT = (
    "The {side} side's server tells no log-probabilities of a text that is given to it (vLLM's and llama.cpp's do): "
    "it cannot be read token by token."
)
REMOTE = (
    "Read by the models' own servers, which tell the likeliest tokens alone: there is no KL, no entropy and no "
    "probability of the end, and the two sides' tokens are aligned by characters."
)
NO_ENDING = "The token that closes the answer was not read: servers tell nothing of it."


@dataclass(frozen=True)
class Told:
    """One token as its server tells of it: its characters, log-probability and rank, and the likeliest tokens with
    their probabilities."""

    piece: str
    logprob: float
    rank: int
    top: tuple[tuple[str, float], ...]


def read_remote(sides: Mapping[Side, Endpoint], messages: Sequence[Message], text: str, ended: bool = False) -> Reading:
    """``text`` as the answer to a conversation, read by both sides' servers. Raises UserError if one does not answer,
    or does not tell log-probabilities of a given text."""
    import httpx

    if not text:
        raise UserError("There is no text to score: give one.")
    told: dict[Side, list[Told]] = {}
    prompt_tokens = 0
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    for side in SIDES:
        try:
            with httpx.Client(timeout=timeout, headers=sides[side].headers) as client:
                told[side], count = read_side(client, sides[side], side, messages, text)
        except httpx.HTTPError as error:
            raise UserError(f"The {side} side does not answer ({type(error).__name__}): is its server up?") from error
        prompt_tokens = prompt_tokens or count
    words: dict[Side, dict[int, str]] = {}
    scores: dict[Side, list[SideScore]] = {}
    for side in SIDES:
        ids: dict[str, int] = {}
        scores[side] = [
            SideScore(
                one.logprob,
                one.rank,
                None,
                tuple((ids.setdefault(word, len(ids)), odds) for word, odds in one.top),
                None,
            )
            for one in told[side]
        ]
        words[side] = {number: word for word, number in ids.items()}
    pieces = {side: [one.piece for one in told[side]] for side in SIDES}
    pairs = stretches(pieces["base"], pieces["tuned"])
    places = list(range(len(told["base"])))
    entries = aligned_scores(pairs, scores["base"], scores["tuned"], places, (words["base"], words["tuned"]))
    shown = ["".join(pieces["base"][ours]) for ours, _ in pairs]
    notes = [REMOTE, NO_ENDING] if ended else [REMOTE]
    return Reading(entries, shown, words, prompt_tokens, notes, aligned=True)


def read_side(
    client: httpx.Client, endpoint: Endpoint, side: Side, messages: Sequence[Message], text: str
) -> tuple[list[Told], int]:
    """One side's tokens of the text, and how many tokens its prompt has. Raises UserError as :func:`read_remote`."""
    whole = whole_prompt(client, endpoint, [*messages, {"role": "assistant", "content": text}], goes_on=True)
    if whole is None:
        return read_in_steps(client, endpoint, side, messages, text)
    before = whole_prompt(client, endpoint, list(messages), goes_on=False)
    count = len(before or ())
    entries = [entry_of(each) for each in whole[count:]]
    if not count or not entries or any(entry is None for entry in entries):
        raise UserError(TOLD_NOT.format(side=side))
    return [entry for entry in entries if entry is not None], count


def whole_prompt(client: httpx.Client, endpoint: Endpoint, messages: list[Any], goes_on: bool) -> list[Any] | None:
    """What vLLM tells of every token of a conversation; None from a server that does not. With ``goes_on`` the last
    message is not closed."""
    body = {
        "model": endpoint.model,
        "messages": messages,
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": TOP,
        "add_generation_prompt": not goes_on,
        "continue_final_message": goes_on,
    }
    response = client.post(f"{endpoint.url}/chat/completions", json=body)
    if response.status_code in (401, 403) or response.status_code >= 500:
        raise UserError(f"A side's server refused ({response.status_code}): {refusal(response.content)}")
    told = content_of(response).get("prompt_logprobs")
    return told if isinstance(told, list) and told else None


def entry_of(told: Any) -> Told | None:
    """One place of vLLM's ``prompt_logprobs``: the token that stands there comes first, then the likeliest. None for
    what is none."""
    if not isinstance(told, dict) or not told:
        return None
    try:
        entries = [(str(one["decoded_token"]), float(one["logprob"]), int(one["rank"])) for one in told.values()]
    except (KeyError, TypeError, ValueError):
        return None
    ranked = sorted(entries, key=lambda entry: entry[2])
    piece, logprob, rank = entries[0]
    return Told(piece, logprob, rank, tuple((word, odds(value)) for word, value, _ in ranked[:TOP]))


def odds(logprob: float) -> float:
    """A probability from its logarithm, however a server rounds."""
    return math.exp(min(0.0, logprob))


def read_in_steps(
    client: httpx.Client, endpoint: Endpoint, side: Side, messages: Sequence[Message], text: str
) -> tuple[list[Told], int]:
    """By llama.cpp's server: its own template and tokens, and for each token one step, of which what goes before is
    kept. A letter is made certain at each step, since something must be written; told are the odds before that."""
    root = endpoint.url.removesuffix("/v1")

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return content_of(client.post(f"{root}{path}", json=body))

    prompt = post("/apply-template", {"messages": [dict(turn) for turn in messages]}).get("prompt")
    if not isinstance(prompt, str):
        raise UserError(TOLD_NOT.format(side=side))

    def tokens(content: str, special: bool) -> list[tuple[int, str]]:
        body = {"content": content, "add_special": special, "parse_special": special, "with_pieces": True}
        found = post("/tokenize", body).get("tokens")
        try:
            return [(int(one["id"]), characters(one["piece"])) for one in found or []]
        except (KeyError, TypeError, ValueError):
            raise UserError(TOLD_NOT.format(side=side)) from None

    before, own = [number for number, _ in tokens(prompt, True)], tokens(text, False)
    letter = tokens("a", False)[-1][0]
    told = []
    for place, (number, piece) in enumerate(own):
        ids = [*before, *(token for token, _ in own[:place])]
        body = {
            "prompt": ids,
            "n_predict": 1,
            "temperature": 0,
            "cache_prompt": True,
            "logit_bias": [[letter, CERTAIN]],
        }
        for many in (LIKELIEST, EVERYTHING):
            found = likeliest(post("/completion", body | {"n_probs": many}))
            at = next((rank for rank, one in enumerate(found) if one[0] == number), None)
            if at is not None:
                break
        if at is None:
            raise UserError(TOLD_NOT.format(side=side))
        told.append(Told(piece, found[at][2], at + 1, tuple((word, odds(value)) for _, word, value in found[:TOP])))
    return told, len(before)


def likeliest(told: dict[str, Any]) -> list[tuple[int, str, float]]:
    """The tokens that llama.cpp's server lists for the next place, likeliest first: number, characters, logarithm."""
    try:
        top = told["completion_probabilities"][0]["top_logprobs"]
        return [(int(one["id"]), str(one["token"]), float(one["logprob"])) for one in top]
    except (KeyError, IndexError, TypeError, ValueError):
        return []


def characters(piece: Any) -> str:
    """A token's piece as llama.cpp's server tells it: text, or the bytes of a part of a character."""
    return piece if isinstance(piece, str) else bytes(piece).decode("utf-8", "replace")


def content_of(response: httpx.Response) -> dict[str, Any]:
    """A server's JSON object; nothing for a refusal or anything else."""
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) and not response.is_error else {}
