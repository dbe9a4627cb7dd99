"""Tables of answers made by hand, without a model."""

from __future__ import annotations

from eval_prompts.scoring.table import Table


def answer(task, number, side, value, sample=0, **changes):
    """One answer's event: ``value`` is whether it passes, None for one that could not be tried, or a score."""
    passes = {True: "passes", False: "fails", None: "not run"}
    graded = isinstance(value, float)
    return {
        "event": "answer",
        "task": task,
        "number": number,
        "id": f"q{number}",
        "side": side,
        "sample": sample,
        "seed": 1,
        "text": "The answer is in plain English words for everybody to read here.",
        "tokens": 12,
        "state": "ended",
        "verdict": "none" if graded else passes[value],
        "score": value if graded else None if value is None else float(value),
        "reason": "",
        "scores": [],
        "badges": [],
        "repetition": 0.0,
        "language": "en",
        **changes,
    }


def plan_of(tasks, sides=("base", "tuned"), samples=1):
    """A plan of tasks, (name, number of questions) each."""
    settings = {"max_new_tokens": 9, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    return {
        "created": 1_700_000_000.0,
        "version": "1",
        "tasks": [
            {
                "name": name, "title": name.title(), "source": {"task": name}, "questions": size, "whole": size,
                "settings": settings, "system": None, "user": None, "score": ["contains"], "show": True,
                "fingerprints": {"prompt": "p", "scorers": "s", "questions": "q"},
            }
            for name, size in tasks
        ],
        "sides": list(sides),
        "samples": samples,
        "limit": None,
        "model": "m",
        "origin": "",
        "device": "CPU fp32",
        "adapter": {"name": "mine"},
        "against": None,
        "fingerprints": {"model": "f", "adapter": "a", "against": ""},
    }  # fmt: skip


def table_of(results, sides=("base", "tuned"), samples=1, changes=None, references=()):
    """A table from task → list of (base, tuned) values; ``changes`` are of the tuned answers."""
    plan = plan_of([(name, len(pairs)) for name, pairs in results.items()], sides, samples)
    question = {"title": "", "input": "", "tags": [], "cluster": "", "references": list(references)}
    questions = {
        name: [
            question
            | {
                "id": f"q{number}",
                "question": f"Would you tell me about the matter of number {number} in your own words, please?",
            }
            for number in range(len(pairs))
        ]
        for name, pairs in results.items()
    }
    table = Table(plan, questions)
    for name, pairs in results.items():
        for number, pair in enumerate(pairs):
            for side, value in zip(("base", "tuned"), pair, strict=True):
                if side in sides:
                    more = (changes or {}) if side == "tuned" else {}
                    table.add([answer(name, number, side, value, **more)])
    return table
