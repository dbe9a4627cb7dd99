"""A picture of one pair of answers for a report: HTML without a script, coloured and underlined as on the page."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.view import parting, summary

if TYPE_CHECKING:
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.models.pair import Side

STEPS = (0.1, 0.5, 1.5, 4.0)
"""Nats of change from which on a token is shaded and underlined one step stronger; lens.js has the same."""
SHADES = (0, 7, 16, 28, 42)
MOST_TOKENS = 1500
STYLE = (
    "<style>.lens pre{white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.9}"
    ".lens span{border-bottom:0 solid}"
    ".lens .part{display:block;font-weight:600;border-left:3px solid;padding-left:.5rem}"
    + "".join(
        f".lens .{side[0]}{step}{{background:color-mix(in srgb,var(--{side}) {SHADES[step]}%,transparent);"
        f"border-bottom:{step}px {line} var(--{side})}}"
        for side, line in (("base", "dashed"), ("tuned", "solid"))
        for step in range(1, 5)
    )
    + "</style>"
)


@dataclass(frozen=True)
class Picture:
    """Both answers to one question as both models see them. ``number`` counts from 0; ``looked_at`` of ``differing``
    questions whose answers differ were read to find the one that changed most."""

    number: int
    readings: Mapping[Side, Reading]
    greedy: bool
    looked_at: int
    differing: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON: as ``lens.json`` holds readings, with the question's number from 1 on."""
        return {
            "number": self.number + 1,
            "parting": parting(self.readings, self.greedy),
            **{side: reading.to_dict() for side, reading in self.readings.items()},
        }


def size(reading: Reading) -> float:
    """How much a text changed: the mean size of the change of log p of its tokens, in nats."""
    return math.fsum(abs(entry.change) for entry in reading.scores) / len(reading.scores)


def picture_html(picture: Picture, titles: Mapping[str, str], question: str) -> str:
    """The section of a report; all texts are escaped."""
    told = parting(picture.readings, picture.greedy)
    sides = "".join(
        f'<article class="{side}"><h3>{html.escape(titles[side])}</h3>'
        f"<pre>{tokens_html(reading, told)}</pre><footer>{html.escape(summary(reading))}</footer></article>"
        for side, reading in picture.readings.items()
    )
    found = f"of the {picture.looked_at} that were read" if picture.looked_at < picture.differing else "of all"
    notes = dict.fromkeys((*picture.notes, *(note for reading in picture.readings.values() for note in reading.notes)))
    about = (
        "Each token is shaded by how much likelier tuning made it: full lines where tuned found it likelier, dashed "
        f"ones where base did. This tuned answer changed most {found} ({picture.differing} differ)."
    )
    return (
        f'{STYLE}<section class="lens"><h2>The most changed answer, token by token: '
        f"{html.escape(f'{picture.number + 1}. {question}')}</h2>"
        f'<p class="behind">{html.escape(" ".join([about, *notes]))}</p><div class="sides">{sides}</div></section>'
    )


def tokens_html(reading: Reading, told: Mapping[str, Any]) -> str:
    """The tokens of one answer, with the mark where the answers part."""
    found = []
    for place, (piece, entry) in enumerate(zip(reading.pieces, reading.scores, strict=True)):
        if place == told["place"]:
            found.append(f'<span class="part">{html.escape(told["words"])}</span>')
        if place == MOST_TOKENS:
            found.append(f'<span class="part">{len(reading.pieces) - place:,} more tokens are not shown</span>')
            break
        odds = [min(1.0, math.exp(thought.logprob)) for _, thought in entry.sides]
        step = sum(abs(entry.change) >= least for least in STEPS)
        kind = f' class="{"t" if entry.change > 0 else "b"}{step}"' if step else ""
        title = html.escape(f"{piece!r}: base {odds[0]:.0%}, tuned {odds[1]:.0%}", quote=True)
        found.append(f'<span{kind} title="{title}">{html.escape(piece)}</span>')
    return "".join(found)
