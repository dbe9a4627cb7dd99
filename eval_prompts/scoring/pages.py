"""A scoring for people: a summary in Markdown, and a report of one HTML page that prints well."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from eval_prompts.answers import ending_words
from eval_prompts.report import answer_html, badge_html, highlight_css, one_line, paragraphs
from eval_prompts.scoring.card import Card, points
from eval_prompts.scoring.figures import Figures, TaskFigures
from eval_prompts.scoring.statistics import Interval
from eval_prompts.scoring.table import READ, Outcome, Table, TaskTable

PAGE = Path(__file__).with_name("report.html.template")
TITLES = {
    Outcome.LOST: "Lost: only the base passes",
    Outcome.GAINED: "Gained: only the tuned side passes",
    Outcome.BOTH: "Both pass",
    Outcome.NEITHER: "Neither passes",
    Outcome.UNKNOWN: "Not compared",
}
NO_FIGURE = "–"
SHOWN = {Outcome.LOST: 200, Outcome.GAINED: 100, Outcome.NEITHER: 20, Outcome.BOTH: 20}
"""Questions of a kind in the report, regressions first; how many more there are is said."""


def side_titles(plan: Mapping[str, Any]) -> dict[str, str]:
    """What both sides are called."""
    adapter, against = plan["adapter"] or {}, plan["against"] or {}
    titles = {"base": "Base", "tuned": "Tuned"}
    return {"base": str(against["name"]), "tuned": str(adapter["name"])} if against else titles


def about(plan: Mapping[str, Any], everything: bool = True) -> list[str]:
    """When, who and how, in lines; unless ``everything``, without the prompts of tasks that visitors may not see."""
    prints = plan["fingerprints"]
    models = [f"base model {plan['model']} ({prints['model'] or 'no fingerprint'})"]
    for key in ("adapter", "against"):
        if plan[key]:
            models.append(f"{key} {plan[key]['name']} ({prints[key] or 'no fingerprint'})")
    lines = [
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(plan["created"])) + f" · LoRA Lens {plan['version']}",
        " · ".join([*models, plan["device"]]),
    ]
    for task in plan["tasks"]:
        settings = task["settings"]
        drawn = f"temperature {settings['temperature']:g}, top-p {settings['top_p']:g}, seed {settings['seed']}"
        sampling = "greedy" if not settings["temperature"] else drawn
        if everything or task.get("show", True):
            system = f"system prompt “{' '.join(task['system'].split())}”" if task["system"] else "no system prompt"
            user = f"user turn “{' '.join(task['user'].split())}”" if task["user"] else ""
        else:
            system, user = "its prompt and questions are the owner's", ""
        samples = task.get("samples", plan["samples"])
        asked = f"{task['questions']:,} questions, {samples} answer{'s' * (samples != 1)} each"
        most = f"at most {settings['max_new_tokens']} tokens"
        lines.append(" · ".join(filter(None, [f"task {task['title']}", asked, sampling, most, system, user])))
    return lines


def percent(interval: Interval) -> str:
    """A score with its interval."""
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def figures_rows(task: TaskFigures, titles: Mapping[str, str]) -> list[list[str]]:
    """One task's figures: its head, and a row for each with a column per side."""
    sides = list(task.sides)
    score = "pass" if task.metric == "passes" else "mean score"
    rows = [[task.title, *(titles[side] for side in sides)]]
    rows.append([score, *(percent(task.sides[side].score) for side in sides)])
    for k in next(iter(task.sides.values())).pass_at:
        if k > 1:
            rows.append([f"one of {k} passes (pass@{k})", *(f"{task.sides[side].pass_at[k]:.1%}" for side in sides)])
    if any(task.sides[side].not_run for side in sides):
        rows.append(["could not be tried", *(str(task.sides[side].not_run) for side in sides)])
    for label, name in (("same text twice", "same_text"), ("same verdict twice", "same_verdict")):
        shares = [getattr(task.sides[side], name) for side in sides]
        if any(share is not None for share in shares):
            rows.append([label, *("–" if share is None else f"{share:.0%}" for share in shares)])
    read = [task.sides[side].answers - task.sides[side].written for side in sides]
    if any(read):
        rows.append(["by likelihood, nothing written", *(str(count) for count in read)])
    if any(task.sides[side].written for side in sides) or not any(read):
        rows.append(["ended by itself", *(f"{task.sides[side].ended} of {task.sides[side].written}" for side in sides)])
        tokens = [task.sides[side].tokens for side in sides]
        rows.append(["tokens, median", *("–" if count is None else f"{count:.0f}" for count in tokens)])
    return rows


def parts_rows(task: TaskFigures, titles: Mapping[str, str]) -> list[list[str]]:
    """One task by its tags: a head, and a row for each; none where it has no parts."""
    if not task.parts:
        return []
    rows = [[f"{task.title} by tag", "questions", *(titles[side] for side in ("base", "tuned")), "difference"]]
    for part in task.parts:
        reach = f"{part.difference.low * 100:+.0f} to {part.difference.high * 100:+.0f}"
        shift = f"{part.difference.value * 100:+.0f} points ({reach})"
        rows.append([part.tag, f"{part.questions:,}", f"{part.base:.0%}", f"{part.tuned:.0%}", shift])
    return rows


def parts_line(task: TaskFigures) -> str:
    """What is to be said of the parts; '' where there are none."""
    if not task.parts:
        return ""
    more = f"; the {len(task.parts)} commonest of {task.tags} tags" if task.tags > len(task.parts) else ""
    return f"by tag, with 95% intervals, each by itself: among so many one parts by chance, so nothing is claimed{more}"


def forgetting_rows(figures: Figures, titles: Mapping[str, str]) -> list[list[str]]:
    """What is forgotten: a head, and a row for each text that was read; none where none was."""
    read = [figure for figure in figures.other if "unit" in figure]
    if not read:
        return []
    rows = [[f"nats a {read[0]['unit']} of neutral texts", titles["base"], titles["tuned"], "difference"]]
    for figure in read:
        before, now = (_figure(figure[key], ".3f") for key in ("before", "now"))
        shift, low, high = (_figure(figure[key], "+.3f") for key in ("difference", "low", "high"))
        reach = "no interval" if NO_FIGURE in (low, high) else f"{low} to {high}"
        rows.append([str(figure["name"]), before, now, f"{shift} ({reach})" if shift != NO_FIGURE else shift])
    return rows


def _figure(value: float | None, form: str) -> str:
    """A figure; an event has none where it was no number, as a damaged model's, or without bounds."""
    return NO_FIGURE if value is None else format(value, form)


def difference_line(task: TaskFigures) -> str:
    """The paired comparison in one line of figures; '' for one side alone."""
    difference = task.difference
    if difference is None:
        return ""
    test = "exact McNemar" if difference.test == "mcnemar" else "permutation test"
    adjusted = f", {task.p_value:.3g} for all tasks together" if task.p_value != difference.p_value else ""
    reach = f"{difference.low * 100:+.1f} to {difference.high * 100:+.1f}"
    return (
        f"difference {difference.value * 100:+.1f} points ({reach}, 95%), gained {difference.gained}, "
        f"lost {difference.lost} of {difference.of}, {test} p = "
        f"{difference.p_value:.3g}{adjusted}; smallest effect seen at 80% power {points(difference.detectable)}"
    )


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows for a terminal, in columns."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def markdown(table: Table, figures: Figures, card: Card) -> str:
    """The summary: the card, a table per task, the habits, and which questions were lost and gained."""
    titles = side_titles(table.plan)
    lines = [f"# {card.head}", "", f"**{one_line(card.sentence)}**", ""]
    lines += [f"- got worse: {one_line(line)}" for line in card.worse]
    lines += [f"- {one_line(line)}" for line in (*card.kept, *card.missing, *card.notes)]
    lines += ["", *(f"{one_line(line)}  " for line in about(table.plan)), ""]
    lines += _markdown_table(forgetting_rows(figures, titles))
    for task in figures.tasks:
        lines += _markdown_table(figures_rows(task, titles))
        lines += ["", one_line(difference_line(task)), ""]
        lines += [*_markdown_table(parts_rows(task, titles)), one_line(parts_line(task)), ""] if task.parts else []
        for outcome in (Outcome.LOST, Outcome.GAINED):
            if ids := task.outcomes[outcome]:
                lines += [f"{str(outcome).capitalize()}: {one_line(_some(ids))}", ""]
    return "\n".join(lines)


def _markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows, the first of which is the head, as a table with a blank line behind it; nothing for none."""
    if not rows:
        return []
    head, *body = rows
    whole = (head, ["---"] * len(head), *body)
    return [*(f"| {' | '.join(cell if cell == '---' else one_line(cell) for cell in row)} |" for row in whole), ""]


def _some(ids: Sequence[str], most: int = 40) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def page(table: Table, figures: Figures, card: Card, sources: Sequence[tuple[str, str]] = ()) -> str:
    """The report as one HTML page that needs nothing else, regressions first; all texts are escaped. ``sources`` are
    what others than the checks say: people, and a judge."""
    titles = side_titles(table.plan)
    tables = [
        f"{_table(figures_rows(task, titles))}{paragraphs('figures', [difference_line(task)])}"
        + (f"{_table(parts_rows(task, titles))}{paragraphs('figures', [parts_line(task)])}" if task.parts else "")
        for task in figures.tasks
    ]
    if forgotten := forgetting_rows(figures, titles):
        tables.append(_table(forgotten))
    habits = [[habit.words, _of(habit.base, habit.of), _of(habit.tuned, habit.of)] for habit in figures.habits]
    if habits:
        tables.append(_table([["how answers behave", titles["base"], titles["tuned"]], *habits]))
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        highlight=highlight_css(),
        state=card.standing.replace(" ", "-"),
        head=html.escape(card.head),
        sentence=html.escape(card.sentence),
        worse=_list("worse", card.worse),
        sources=paragraphs("source", [f"{name}: {words}" for name, words in sources]),
        rest=_list("rest", [*card.kept, *card.missing, *card.notes]),
        about=paragraphs("about", about(table.plan)),
        tables="".join(tables),
        rows="\n".join(_sections(table, titles)),
    )


def _of(count: int | None, of: int) -> str:
    return "–" if count is None else f"{count} of {of}"


def _list(name: str, lines: Sequence[str]) -> str:
    return f'<ul class="{name}">{"".join(f"<li>{html.escape(line)}</li>" for line in lines)}</ul>' if lines else ""


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    titles = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{html.escape(label)}</th>{"".join(f"<td>{html.escape(c)}</td>" for c in cells)}</tr>'
        for label, *cells in body
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def _sections(table: Table, titles: Mapping[str, str]) -> Iterable[str]:
    several = len(table.tasks) > 1
    for outcome, most in SHOWN.items():
        found = [
            (task, number)
            for task in table.tasks.values()
            for number in range(len(task.questions))
            if task.outcome(number) is outcome
        ]
        if found:
            yield f'<h2 class="kind {outcome}">{TITLES[outcome]} <small>{len(found)}</small></h2>'
        for task, number in found[:most]:
            yield _question(task, number, titles, several)
        if len(found) > most:
            yield f"<p>{len(found) - most} more are in score.json.</p>"


def _question(task: TaskTable, number: int, titles: Mapping[str, str], several: bool) -> str:
    question = task.questions[number]
    name = f"{task.title}, {question['id']}" if several else str(question["id"])
    asked = f"<pre>{html.escape(question['input'])}</pre>" if question["input"] else ""
    told = "".join(f"<pre>{html.escape(reference)}</pre>" for reference in question["references"])
    reference = f'<details class="behind"><summary>Reference</summary>{told}</details>' if told else ""
    columns = "".join(_answer(task, number, side, titles[side]) for side in task.sides)
    return (
        f'<section class="{task.outcome(number)}"><h3 class="question"><small>{html.escape(name)}</small> '
        f'{html.escape(question["question"])}</h3>{asked}{reference}<div class="sides">{columns}</div></section>'
    )


def _answer(task: TaskTable, number: int, side: str, title: str) -> str:
    from eval_prompts.judging.verdict import Badge

    parts = []
    answers = task.of(number, side)
    for answer in answers[:1]:
        badges = "".join(badge_html(Badge(**badge)) for badge in answer["badges"])
        ending = "likelihoods that were read" if answer["state"] == READ else ending_words(answer["state"])
        parts.append(
            f"{answer_html(answer['text'])}<footer>{answer['tokens']} tokens · {ending}"
            f'<div class="badges">{badges}</div></footer>'
        )
    if len(answers) > 1:
        passed = sum(answer["verdict"] == "passes" for answer in answers)
        parts.append(f"<p>The first of {len(answers)} samples, of which {passed} pass.</p>")
    return f'<article class="{side}"><h3>{html.escape(title)}</h3>{"".join(parts)}</article>'
