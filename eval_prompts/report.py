"""One comparison as files: ``answers.json`` for programs, ``report.md`` and ``report.html`` for people."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from eval_prompts.answer_facts import facts
from eval_prompts.comparison import Comparison
from eval_prompts.lens.picture import picture_html
from eval_prompts.showing.loss_curve import svg
from eval_prompts.tasks.verdicts import Change, Judgement
from tuning.errors import UserError
from tuning.files import write_whole

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.judging.verdict import Badge
    from tuning.data.chat import Message

PAGE = Path(__file__).with_name("report.html.template")
SIGNS = {"good": "✓", "bad": "✗", "neutral": "○"}


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the three files into ``folder``, which is made if need be. Raises UserError if that cannot be done."""
    contents = {
        "answers.json": answers_json(comparison),
        "report.md": markdown(comparison),
        "report.html": page(comparison),
    }
    check_writable(folder)
    for name, content in contents.items():
        write_text(folder / name, content)
    return [folder / name for name in contents]


def answers_json(comparison: Comparison) -> str:
    """The report for programs."""
    return json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False) + "\n"


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


def heading(comparison: Comparison, number: int) -> str:
    """A question's number and text, and how the sides compare."""
    change = comparison.change(number)
    words = f" ({change})" if change in (Change.BETTER, Change.WORSE) else ""
    first, turn = comparison.turns.get(number, (number, 1))
    which = f"{first + 1}, turn {turn}" if number in comparison.turns else f"{number + 1}"
    return f"{which}. {comparison.asked(number).text}{words}"


def whole_line(comparison: Comparison, number: int) -> str:
    """Below a conversation's last turn: how many of its turns each side does; '' elsewhere and where none is judged."""
    first, _ = comparison.turns.get(number, (number, 1))
    if number not in comparison.turns or comparison.conversation(first)[-1] != number:
        return ""
    told = comparison.conversation_dict(first)
    counts = [
        f"{comparison.titles[side]} does {told['passes'][side]} of {told['judged'][side]} turns"
        for side in comparison.titles
        if side in told["judged"]
    ]
    return f"The whole conversation: {', '.join(counts)}." if counts else ""


def markdown(comparison: Comparison) -> str:
    """The report as Markdown: the first table, then per question the sides one below the other, each quoted."""
    lines = ["# LoRA Lens comparison", "", one_line(comparison.subtitle), "", one_line(comparison.about), ""]
    for line in filter(None, (comparison.tally, comparison.changes_line)):
        lines += [f"**{one_line(line)}**", ""]
    head, rows = comparison.table if comparison.answers else ([], [])
    for row in [head, ["---"] * len(head), *rows] if rows else []:
        lines.append(f"| {' | '.join(cell if cell == '---' else one_line(cell) for cell in row)} |")
    lines += [""] if rows else []
    for line in (*comparison.remarks, *comparison.votes):
        lines += [one_line(line), ""]
    for number, answers in comparison.groups:
        lines += [f"## {one_line(heading(comparison, number))}", ""]
        references = comparison.asked(number).references
        if references:
            lines += [f"Reference: {' · '.join(map(one_line, references))}", ""]
        for answer in answers:
            quoted = [f"> {line}".rstrip() for line in answer.said.splitlines()]
            draft = len(answer.thought.thinking)
            left_out = [f"*(A draft of {draft:,} characters is left out; answers.json has it.)*", ""] if draft else []
            lines += [
                f"**{one_line(comparison.titles[answer.side])}** ({facts(answer)})",
                "",
                *left_out,
                *(quoted or ["> (no text)"]),
                "",
            ]
            lines += findings(comparison.verdict(answer))
        whole = whole_line(comparison, number)
        lines += [f"**{one_line(whole)}**", ""] if whole else []
    return "\n".join(lines)


def findings(verdict: Judgement | None) -> list[str]:
    """A verdict as Markdown: the badges in one line, and why for those that are not good."""
    if verdict is None or not verdict.badges:
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
    for number, answers in comparison.groups:
        columns = "".join(
            f'<article class="{answer.side}"><h3>{html.escape(comparison.titles[answer.side])}</h3>'
            f"{draft_html(answer)}{answer_html(answer.said)}"
            f"<footer>{html.escape(facts(answer))}{badges_html(comparison.verdict(answer))}</footer></article>"
            for answer in answers
        )
        title = html.escape(heading(comparison, number))
        rows.append(
            f'<section class="{comparison.change(number)}"><h2>{title}</h2>{behind(comparison, number)}'
            f'<div class="sides">{columns}</div>{paragraphs("whole", [whole_line(comparison, number)])}</section>'
        )
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        subtitle=html.escape(comparison.subtitle),
        about=html.escape(comparison.about),
        highlight=highlight_css(),
        tally=paragraphs("tally", [comparison.tally, comparison.changes_line]),
        table=table_html(comparison),
        votes=paragraphs("votes", [*comparison.remarks, *comparison.votes]),
        curve=curve_html(comparison),
        lens=lens_html(comparison),
        rows="\n".join(rows),
    )


def lens_html(comparison: Comparison) -> str:
    """The most changed answer token by token; '' where none was read."""
    picture = comparison.picture
    if picture is None:
        return ""
    titles = {str(side): title for side, title in comparison.titles.items()}
    return picture_html(picture, titles, comparison.asked(picture.number).text)


def table_html(comparison: Comparison) -> str:
    """The first table: a row per figure, a column per side; '' where nothing was answered."""
    if not comparison.answers:
        return ""
    head, rows = comparison.table
    titles = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    lines = [
        f'<tr><th scope="row">{html.escape(label)}</th>'
        f"{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
        for label, *cells in rows
    ]
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def behind(comparison: Comparison, number: int) -> str:
    """What opens on a click above the answers: the references, and the prompt as it went to the models."""
    references = comparison.asked(number).references
    told = "".join(f"<pre>{html.escape(reference)}</pre>" for reference in references)
    reference = f'<details class="behind"><summary>Reference</summary>{told}</details>' if references else ""
    both, tuned = comparison.messages(number), comparison.messages(number, "tuned")
    if both == tuned:
        return reference + prompt_html("Prompt", both)
    names = comparison.titles
    return (
        reference + prompt_html(f"Prompt of {names['base']}", both) + prompt_html(f"Prompt of {names['tuned']}", tuned)
    )


def prompt_html(title: str, messages: Sequence[Message]) -> str:
    """A conversation, folded."""
    turns = "".join(f"<p>{html.escape(turn['role'])}</p><pre>{html.escape(turn['content'])}</pre>" for turn in messages)
    return f'<details class="behind"><summary>{html.escape(title)}</summary>{turns}</details>'


def paragraphs(name: str, lines: Sequence[str]) -> str:
    """Lines of text as paragraphs of a class."""
    return "".join(f'<p class="{name}">{html.escape(line)}</p>' for line in lines if line)


def badges_html(verdict: Judgement | None) -> str:
    """A verdict as badges; the reason and what the code printed open on a click, without a script."""
    if verdict is None or not verdict.badges:
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


def draft_html(answer: Answer) -> str:
    """The draft of a thinking model, folded; '' where there is none."""
    draft = answer.thought.thinking
    return f"<details><summary>Thinking</summary><pre>{html.escape(draft)}</pre></details>" if draft else ""


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
        return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))

    renderer = MarkdownIt("commonmark", {"html": False, "highlight": colour}).disable(["image", "link", "autolink"])
    return str(renderer.render(text))
