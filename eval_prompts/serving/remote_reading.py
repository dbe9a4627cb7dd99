"""A text as two models on other machines see it: asked for in whichever way each of their servers can tell.

vLLM tells the log-probabilities of a whole conversation (``prompt_logprobs``). llama.cpp's server tells those of the
next token alone (``n_probs``), so a text is read in as many steps. Any other server is refused in a sentence: that some
echo a prompt with its log-probabilities does not help, since they do not tell how they write a conversation.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
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
WRITTEN_OTHERWISE = (
    "The {side} side's server writes this text otherwise when it is an answer in a conversation: it cannot be read "
    "token by token."
)
BEGUN_OTHERWISE = (
    "The {side} side's template puts an answer that is over behind another beginning than a new one (a draft left out, "
    "say), and there it was read."
)
UNTOLD = "\ufffd"
"""What a server tells of a token that is a part of a character."""
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
    prompt_tokens, notes = 0, [REMOTE, NO_ENDING] if ended else [REMOTE]
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    for side in SIDES:
        try:
            with httpx.Client(timeout=timeout, headers=sides[side].headers) as client:
                told[side], count, said = read_side(client, sides[side], side, messages, text)
        except httpx.HTTPError as error:
            raise UserError(f"The {side} side does not answer ({type(error).__name__}): is its server up?") from error
        prompt_tokens = prompt_tokens or count
        notes += said
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
    return Reading(entries, shown, words, prompt_tokens, notes, aligned=True)


def read_side(
    client: httpx.Client, endpoint: Endpoint, side: Side, messages: Sequence[Message], text: str
) -> tuple[list[Told], int, list[str]]:
    """One side's tokens of the text, how many tokens stand before it, and what is to be said. Raises UserError as
    :func:`read_remote`."""
    whole = whole_prompt(client, endpoint, [*messages, {"role": "assistant", "content": text}], goes_on=True)
    if whole is None:
        return *read_in_steps(client, endpoint, side, messages, text), []
    before = whole_prompt(client, endpoint, list(messages), goes_on=False)
    if before is None:
        raise UserError(TOLD_NOT.format(side=side))
    entries = [entry_of(each) for each in whole]
    known = next((at for at in range(len(entries), 0, -1) if entries[at - 1] is None), 0)
    own = [entry for entry in entries[known:] if entry is not None]
    if not own:
        raise UserError(TOLD_NOT.format(side=side))
    start = start_of([one.piece for one in own], text, len(before) - known)
    if start is None:
        raise UserError(WRITTEN_OTHERWISE.format(side=side))
    begun = [entry.piece if entry else None for entry in entries[: known + start]]
    asked = [entry.piece if entry else None for entry in map(entry_of, before)]
    return own[start:], known + start, [] if begun == asked else [BEGUN_OTHERWISE.format(side=side)]


def start_of(pieces: Sequence[str], text: str, expected: int) -> int | None:
    """Where a text begins among the tokens of a conversation that ends with it; None where they do not make it.

    That is not always ``expected``, behind the prompt of a new answer: templates write an empty draft before one that
    is over, or leave out the draft that a prompt opens. White space does not count, since templates and tokenizers add
    and drop it, and a token that is a part of a character makes any of those beyond ASCII. A space beyond ASCII may be
    cut into such parts, so that it counts first, and where that finds nothing, does not.
    """
    found = _start_of(pieces, text, expected, _without_ascii_blanks)
    return _start_of(pieces, text, expected, _without_blanks) if found is None else found


def _without_blanks(text: str) -> str:
    return "".join(text.split())


def _without_ascii_blanks(text: str) -> str:
    return text.translate(dict.fromkeys(map(ord, string.whitespace)))


def _start_of(pieces: Sequence[str], text: str, expected: int, letters_of: Callable[[str], str]) -> int | None:
    letters, blank = letters_of(text), len(text) - len(text.lstrip())
    if not letters:
        return expected if 0 <= expected < len(pieces) and not "".join(pieces[expected:]).strip() else None
    first, known = None, 0
    for at in reversed(range(len(pieces))):
        known += len(letters_of(pieces[at].replace(UNTOLD, "")))
        if known > len(letters):
            break
        if makes_letters(letters_of("".join(pieces[at:])), letters):
            first = at
    if first is None:
        return None
    start = first
    # White space of the template goes; a piece of nothing may be the beginning of a character.
    while pieces[start].isspace() or (not pieces[start] and letters[0].isascii()):
        rest = "".join(pieces[start + 1 :])
        if len(rest) - len(rest.lstrip()) < blank:
            break
        start += 1
    return expected if first <= expected < start and not any(pieces[expected:start]) else start


def makes_letters(told: str, letters: str) -> bool:
    """Whether what a server tells of some tokens can be these letters, both without white space: every ``UNTOLD``
    makes one letter beyond ASCII, or a part of one."""
    if len(told) < len(letters):
        return False
    ends = {0}
    for run in re.findall(f"{UNTOLD}+|[^{UNTOLD}]+", told):
        if run[0] != UNTOLD:
            ends = {end + len(run) for end in ends if letters.startswith(run, end)}
            continue
        reached = set()
        for end in ends:
            for at in range(end, min(end + len(run), len(letters))):
                if letters[at].isascii():
                    break
                reached.add(at + 1)
        ends = reached
    return len(letters) in ends


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
