"""One comparison as files: ``answers.json`` for programs, ``report.md`` and ``report.html`` for people."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from eval_prompts.judging.verdict import summary
from eval_prompts.loss_curve import LossCurve, svg
from eval_prompts.showing.compare_view import adapter_names
from eval_prompts.tasks.probes import PROBES
from tuning.errors import UserError
from tuning.files import write_whole

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings
    from eval_prompts.judging.verdict import Badge, Verdict
    from eval_prompts.serving.status import Status

PROBE_IDS = {probe.question: probe.id for probe in PROBES}
PAGE = Path(__file__).with_name("report.html.template")
SIDE_TITLES = {"base": "Base", "tuned": "Tuned"}
SIGNS = {"good": "✓", "bad": "✗", "neutral": "○"}
Key = tuple[str, int]


@dataclass(frozen=True)
class Comparison:
    """What was asked of whom, and what each side answered (by question, base before tuned).

    ``verdicts`` are by side and question number; ``votes`` says in lines what people voted on this adapter's answers;
    ``curve`` is the loss of the adapter's run.
    """

    status: Status
    settings: Settings
    answers: Sequence[Answer]
    verdicts: Mapping[Key, Verdict] = field(default_factory=dict)
    votes: Sequence[str] = ()
    curve: LossCurve | None = None

    def to_dict(self) -> dict[str, Any]:
        """The content of ``answers.json``."""
        return {
            "model": self.status.model,
            "origin": self.status.origin,
            "device": self.status.device,
            "adapter": self.status.adapter and self.status.adapter.to_dict(),
            "against": self.status.against and self.status.against.to_dict(),
            "settings": self.settings.to_dict(),
            "answers": [answer_dict(answer) for answer in self.answers],
            "verdicts": [
                {"probe": PROBE_IDS.get(answer.question), "side": answer.side, **self.verdict(answer).to_dict()}
                for answer in self.answers
                if self.verdict(answer)
            ],
            "summary": summary((side, verdict) for (side, _), verdict in self.verdicts.items()),
            "votes": list(self.votes),
        }

    def verdict(self, answer: Answer) -> Verdict | None:
        """What the machine found about an answer, if it was judged."""
        return self.verdicts.get((answer.side, answer.index))

    @property
    def titles(self) -> dict[str, str]:
        """What both sides are called: Base and Tuned, or the names of two adapters that are compared."""
        return adapter_names(self.status) or SIDE_TITLES

    @property
    def tally(self) -> str:
        """How many answers of each side do their task, in one line; '' where none was judged."""
        counts = summary((side, verdict) for (side, _), verdict in self.verdicts.items())
        names = adapter_names(self.status) or {}
        words = [
            f"{names.get(side, side)}: {count['passes']} of {count['answers']} do the task, "
            + (f"{count['not_run']} could not be run, " if count["not_run"] else "")
            + f"{count['ended']} ended by themselves"
            for side in ("tuned", "base")
            if (count := counts.get(side))
        ]
        return " · ".join(words)

    @property
    def subtitle(self) -> str:
        """Model, adapter, device and settings in one line."""
        cards = [card.summary for card in (self.status.adapter, self.status.against) if card]
        parts = [f"base {self.status.model}", " against ".join(cards) or "no adapter", self.status.device]
        settings = self.settings
        sampling = (
            "greedy"
            if settings.temperature == 0
            else f"temperature {settings.temperature:g}, top-p {settings.top_p:g}, seed {settings.seed}"
        )
        return " · ".join([*parts, sampling, f"at most {settings.max_new_tokens} tokens"])


def answer_dict(answer: Answer) -> dict[str, Any]:
    """One answer for JSON. ``probe`` is None for a question that is not one of the five; ``seconds`` in seconds."""
    return {
        "probe": PROBE_IDS.get(answer.question),
        "question": answer.question,
        "side": answer.side,
        "text": answer.text,
        "tokens": answer.tokens,
        "seconds": round(answer.seconds, 3),
        "stopped": answer.stopped,
    }


def ending(answer: Answer) -> str:
    """How an answer ended, in words."""
    words = {"ended": "ended by itself", "capped": "hit the token cap", "cancelled": "stopped by hand"}
    return words.get(answer.state, answer.state)


def facts(answer: Answer) -> str:
    """Length, time, speed and ending of an answer in one line."""
    return (
        f"{answer.tokens} tokens · {answer.seconds:.1f} s · {answer.tokens_per_second:.0f} tokens/s · {ending(answer)}"
    )


def judged(answers: Sequence[Answer]) -> dict[Key, Verdict]:
    """The verdict on each complete answer, by side and question number. Runs their code in the sandbox."""
    from eval_prompts.judging.judge import judge

    return {
        (answer.side, answer.index): judge(answer.text, probe_id=PROBE_IDS.get(answer.question), stopped=answer.stopped)
        for answer in answers
        if answer.state in ("ended", "capped")
    }


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the three files into ``folder``, which is made if need be. Raises UserError if that cannot be done."""
    contents = {
        "answers.json": json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False) + "\n",
        "report.md": markdown(comparison),
        "report.html": page(comparison),
    }
    check_writable(folder)
    for name, content in contents.items():
        write_text(folder / name, content)
    return [folder / name for name in contents]


def write_text(path: Path, content: str) -> None:
    """Write a text file in one step: a reader sees the old one or the new one. Raises UserError if that fails."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error


def check_writable(folder: Path) -> None:
    """Make ``folder`` if need be. Raises UserError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The report cannot be written to {folder}: {error.strerror or error}.") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"The report cannot be written to {folder}: choose a folder you may write to.")


def by_question(answers: Sequence[Answer]) -> list[tuple[str, list[Answer]]]:
    """Answers grouped by question, in order."""
    return [
        (group[0].question, group) for _, items in groupby(answers, key=lambda a: a.index) for group in [list(items)]
    ]


def markdown(comparison: Comparison) -> str:
    """The report as Markdown: per question the sides one below the other, each quoted."""
    lines = ["# LoRA Lens comparison", "", comparison.subtitle, ""]
    if comparison.tally:
        lines += [f"**{comparison.tally}**", ""]
    for line in comparison.votes:
        lines += [one_line(line), ""]
    for number, (question, answers) in enumerate(by_question(comparison.answers), start=1):
        lines += [f"## {number}. {one_line(question)}", ""]
        for answer in answers:
            quoted = [f"> {line}".rstrip() for line in answer.text.splitlines()]
            lines += [
                f"**{one_line(comparison.titles[answer.side])}** ({facts(answer)})",
                "",
                *(quoted or ["> (no text)"]),
                "",
            ]
            lines += findings(comparison.verdict(answer))
    return "\n".join(lines)


def findings(verdict: Verdict | None) -> list[str]:
    """A verdict as Markdown: the badges in one line, and why for those that are not good."""
    if verdict is None:
        return []
    lines = [" · ".join(f"{SIGNS[badge.state]} {one_line(badge.label)}" for badge in verdict.badges), ""]
    reasons = [badge for badge in verdict.badges if badge.state != "good" and badge.reason]
    lines += [f"- {one_line(badge.label)}: {one_line(badge.reason)}" for badge in reasons]
    return [*lines, ""] if reasons else lines


def one_line(text: str) -> str:
    """Text as one line that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>#|" else c for c in " ".join(text.split()))


def page(comparison: Comparison) -> str:
    """The report as one HTML page that needs nothing else; all texts are escaped."""
    rows = []
    for number, (question, answers) in enumerate(by_question(comparison.answers), start=1):
        columns = "".join(
            f'<article class="{answer.side}"><h3>{html.escape(comparison.titles[answer.side])}</h3>'
            f"{answer_html(answer.text)}"
            f"<footer>{html.escape(facts(answer))}{badges_html(comparison.verdict(answer))}</footer></article>"
            for answer in answers
        )
        rows.append(f'<section><h2>{number}. {html.escape(question)}</h2><div class="sides">{columns}</div></section>')
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        subtitle=html.escape(comparison.subtitle),
        highlight=highlight_css(),
        tally=paragraphs("tally", [comparison.tally]),
        votes=paragraphs("votes", comparison.votes),
        curve=curve_html(comparison),
        rows="\n".join(rows),
    )


def paragraphs(name: str, lines: Sequence[str]) -> str:
    """Lines of text as paragraphs of a class."""
    return "".join(f'<p class="{name}">{html.escape(line)}</p>' for line in lines if line)


def badges_html(verdict: Verdict | None) -> str:
    """A verdict as badges; the reason and what the code printed open on a click, without a script."""
    if verdict is None:
        return ""
    return f'<div class="badges">{"".join(map(badge_html, verdict.badges))}</div>'


def badge_html(badge: Badge) -> str:
    """One badge: sign, words, and what is behind them, all escaped."""
    label = f"{SIGNS[badge.state]} {html.escape(badge.label)}"
    if not badge.reason and not badge.output:
        return f'<span class="badge {badge.state}">{label}</span>'
    printed = f"<pre>{html.escape(badge.output)}</pre>" if badge.output else ""
    return (
        f'<details class="badge {badge.state}"><summary>{label}</summary>'
        f"<p>{html.escape(badge.reason)}</p>{printed}</details>"
    )


def curve_html(comparison: Comparison) -> str:
    """The figure with the loss curve of the adapter's run; '' where it is not known."""
    if comparison.curve is None:
        return ""
    return (
        "<figure><figcaption>How the adapter was trained: loss by step, "
        '<span class="training">training</span> and <span class="validation">validation</span></figcaption>'
        f"{svg(comparison.curve)}</figure>"
    )


def highlight_css() -> str:
    """Colours of highlighted code for the light and the dark theme."""
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="friendly").get_style_defs("pre")
    dark = HtmlFormatter(style="github-dark").get_style_defs("pre")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def answer_html(text: str) -> str:
    """A model's answer, Markdown, as HTML: no raw HTML passes, links are shown as text, code is highlighted."""
    from markdown_it import MarkdownIt
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    def colour(code: str, language: str, _: str) -> str:
        try:
            lexer = get_lexer_by_name(language or "python")
        except ClassNotFound:
            return html.escape(code)
        return highlight(code, lexer, HtmlFormatter(nowrap=True))

    renderer = MarkdownIt("commonmark", {"html": False, "highlight": colour}).disable(["image", "link", "autolink"])
    return renderer.render(text)
