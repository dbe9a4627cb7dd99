"""A preference with a known answer: ``python -m tests.benchmarks.docstring_votes [--out DIR] [--questions N]``.

Two hundred blind votes are planted, each between an answer to a training question with a docstring and the same one
without, and each prefers the docstring, on whichever side it stands. What the button *Train on these votes* starts is
run from the starter adapter; then both adapters answer held-out questions, greedily. Printed are the share of functions
with a docstring before and after, and what became of the task's own checks, with its interval.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import tempfile
import time
from pathlib import Path

VOTES = 200
FENCE = re.compile(r"```(?:python)?\n(.*?)(?:```|$)", re.DOTALL)


def has_docstring(text: str) -> bool | None:
    """Whether an answer's first function has a docstring; None where it holds none that can be read."""
    found = FENCE.search(text)
    try:
        tree = ast.parse(found[1] if found else text)
    except (SyntaxError, ValueError):
        return None
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return ast.get_docstring(functions[0]) is not None if functions else None


def with_docstring(answer: str, question: str) -> str | None:
    """The answer with the question's first sentence as its function's docstring; None where that cannot be."""
    if has_docstring(answer) is not False:
        return None
    lines = answer.splitlines()
    at = next((at for at, line in enumerate(lines) if re.match(r"def \w+\(.*\).*:$", line)), None)
    if at is None:
        return None
    sentence = re.split(r"(?<=[.!?])\s", " ".join(question.split()))[0].replace('"', "'").replace("\\", "")
    made = "\n".join([*lines[: at + 1], f'    """{sentence}"""', *lines[at + 1 :]])
    return made if has_docstring(made) else None


def plant(url: str, fingerprint: str, base: str, most: int) -> int:
    """Put the votes into a database; how many were planted."""
    from eval_prompts.votes.records import Answered, ShownPair
    from eval_prompts.votes.store import Ratings
    from tuning.data.chat import prompt_messages
    from tuning.data.dataset import load

    ratings = Ratings(url)
    planted = 0
    data = load()
    for row in [*data.train, *data.validation]:  # the questions asked afterwards are of the test split
        better = with_docstring(row.answer, row.question)
        if better is None:
            continue
        side = "tuned" if planted % 2 else "base"
        texts = {"tuned": row.answer, "base": row.answer} | {side: better}
        sides = {
            "tuned": Answered(texts["tuned"], 0, 1.0, "ended", "starter", fingerprint),
            "base": Answered(texts["base"], 0, 1.0, "ended", "base", base),
        }
        left = "tuned" if planted % 3 else "base"
        about = {"left": left, "blind": True, "settings": {"messages": prompt_messages(row.question, row.input)}}
        pair = ShownPair(f"p{planted}", time.time(), "asker", row.question, None, **sides, **about)
        ratings.add_pair(pair)
        ratings.vote(pair.id, f"voter-{planted}", "left" if left == side else "right")
        planted += 1
        if planted == most:
            break
    ratings.close()
    return planted


def learn(url: str, model: str) -> Path:
    """Train on the votes as the page does; the new adapter's folder."""
    from eval_prompts.models.adapter_source import STARTER
    from eval_prompts.votes.lesson import lesson, run_settings, write
    from eval_prompts.votes.store import Ratings
    from tuning.presets import configure
    from tuning.runs import run
    from tuning.training import worker
    from tuning.training.parallel import Ranks

    ratings = Ratings(url)
    found = lesson(ratings, None)
    ratings.close()
    print(found.words(), flush=True)
    overrides = run_settings(found, write(found), model, STARTER)
    made = run.create("quick", configure("quick", overrides))
    worker.work(made, Ranks())
    return made.adapter


def held_out(model: str, before: str, after: Path, questions: int) -> None:
    """Ask both adapters and print what came of it."""
    from eval_prompts.scoring import plans, run
    from eval_prompts.scoring.result import table_of
    from eval_prompts.scoring.statistics import compare
    from eval_prompts.scoring.subject import named_subject
    from eval_prompts.serving.lens import Lens
    from eval_prompts.serving.local import LocalLoader

    with Lens(LocalLoader(model, before)) as lens:
        lens.start()
        lens.wait_ready()
        lens.reload(str(after), before)
        subject = named_subject("python-suite", lambda task: task.settings, questions)
        scoring = plans.new_scoring([subject], lens.status())
        state, words = run.Runner(scoring, [subject], lens).run()
    print(f"{state}: {words}")
    task = next(iter(table_of(scoring).tasks.values()))
    for side, name in (("base", "before"), ("tuned", "after")):
        told = [has_docstring(answer["text"]) for answer in task.all_of(side)]
        functions = [one for one in told if one is not None]
        passed = sum(answer["verdict"] == "passes" for answer in task.all_of(side))
        print(
            f"{name}: {sum(functions)} of {len(functions)} functions have a docstring "
            f"({sum(functions) / max(1, len(functions)):.0%}; {len(told) - len(functions)} answers hold none that can "
            f"be read); {passed} of {len(told)} answers pass their tests"
        )
    change = compare(task.values("base"), task.values("tuned"))
    print(
        f"task score: {100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f}), "
        f"p = {change.p_value:.2g}"
    )


def main() -> None:
    """Plant, train, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where the run and the votes are kept")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--votes", type=int, default=VOTES)
    parser.add_argument("--questions", type=int, default=60, help="held-out questions of the Python suite")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="docstring-votes-"))
    os.environ["LORA_LENS_DATA"] = str(folder)
    url = f"sqlite:///{folder / 'ratings.sqlite'}"
    folder.mkdir(parents=True, exist_ok=True)
    print(
        f"{plant(url, 'base+starter', 'base', options.votes)} votes for docstrings were planted (kept in {folder})",
        flush=True,
    )
    held_out(options.model, "starter", learn(url, options.model), options.questions)


if __name__ == "__main__":
    main()
