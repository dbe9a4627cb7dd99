"""Batches while scoring: ``python -m tests.benchmarks.scoring [--rounds N] [--questions N] [--model M] [--adapter A]``.

Scores questions of the embedded data set's kind under both sides and tells tokens a second from the first to the last
answer, beside the rate at which the same engine writes ten answers at once (``tests.benchmarks.decode``); how many
answers the engine had under way on average; and from that how long 500 questions by two sides take. With ``--votes``
the page is started as well, and votes are timed while it scores.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gradio_client import Client

from eval_prompts.answers import Settings
from eval_prompts.scoring import plans, run
from eval_prompts.scoring.folder import State
from eval_prompts.scoring.subject import Subject, of_task
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.probes import PROBES
from eval_prompts.tasks.scorers.names import make
from eval_prompts.tasks.task import Question
from tests.benchmarks.measures.spread import spread
from tests.benchmarks.startup import PROJECT, free_port, wait_for_page

LOOK_SECONDS = 0.05
IN_ALL = 500
SETTLED_SECONDS = 5.0
"""How long a scoring runs before votes are timed."""


def ten_answers(lens: Lens, tokens: int) -> float:
    """Tokens a second of ten answers, as the decode benchmark asks for them."""
    began = time.perf_counter()
    answers = lens.ask([probe.question for probe in PROBES], Settings(max_new_tokens=tokens)).result()
    return sum(answer.tokens for answer in answers) / (time.perf_counter() - began)


def subject_of(count: int, tokens: int) -> Subject:
    """So many questions, judged by what costs nothing."""
    texts = [f"{probe.question} (variant {number})" for number in range(-(-count // 5)) for probe in PROBES][:count]
    questions = [Question(f"q{at}", text, columns={"question": text}) for at, text in enumerate(texts)]
    scorers = (make({"contains": {"text": "def"}}),)
    task = replace(python_task(), name="variants", questions=questions, scorers=scorers)
    return of_task(task, {"task": "variants"}, Settings(max_new_tokens=tokens))


def scored(lens: Lens, subject: Subject) -> tuple[float, float, float]:
    """One scoring: seconds, tokens a second, and answers under way on average."""
    scoring = plans.new_scoring([subject], lens.status())
    runner = run.Runner(scoring, [subject], lens, background=True)
    under_way: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            under_way.append(sum(row.state == "streaming" for row in rows(lens)))

    watching = threading.Thread(target=look)
    watching.start()
    began = time.perf_counter()
    state, message = runner.run()
    seconds = time.perf_counter() - began
    over.set()
    watching.join()
    if state is not State.FINISHED:
        raise SystemExit(message)
    tokens = sum(event["tokens"] for event in scoring.follow()[0] if event["event"] == "answer")
    return seconds, tokens / seconds, statistics.mean(under_way or [0])


def rows(lens: Lens) -> list[Any]:
    """The answers that the engine is computing."""
    return list(lens.served.engine._active)  # type: ignore[attr-defined]  # a benchmark looks inside


def votes() -> list[float]:
    """Seconds that votes take, by the page's own endpoint, while the page scores."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {"LORA_LENS_DATA": data}
        command = [sys.executable, "app.py", "--port", str(port)]
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}/"
            wait_for_page(url, time.perf_counter())
            client = Client(url, verbose=False, analytics_enabled=False)
            asked = []
            for probe in PROBES:
                *_, pairs = client.submit(probe.question, max_new_tokens=4, api_name="/ask_pairs")
                asked.append(pairs[0]["pair"])
            client.predict("python-suite", {"battery": False}, api_name="/start_scoring")
            time.sleep(SETTLED_SECONDS)
            return [timed(lambda pair=pair: client.predict(pair, "tie", api_name="/rate")) for pair in asked]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Load, measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapter", default="starter")
    parser.add_argument("--votes", action="store_true")
    options = parser.parse_args()
    subject = subject_of(options.questions, options.tokens)
    with tempfile.TemporaryDirectory() as data, Lens(LocalLoader(options.model, options.adapter)) as lens:
        os.environ["LORA_LENS_DATA"] = data
        lens.start()
        lens.wait_ready()
        ten_answers(lens, 8)
        ten, whole = [], []
        for _ in range(options.rounds):
            ten.append(ten_answers(lens, options.tokens))
            whole.append(scored(lens, subject))
    rates = [each[1] for each in whole]
    print(f"ten answers at once: {spread(ten, 0)} tokens/s")
    print(f"scoring {options.questions} questions by two sides: {spread(rates, 0)} tokens/s")
    share = statistics.median(rates) / statistics.median(ten)
    print(f"that is {share:.0%} of it; {spread([each[2] for each in whole], 1)} answers under way on average")
    longest = IN_ALL * statistics.median(each[0] for each in whole) / options.questions
    print(f"{IN_ALL} questions by two sides: {longest / 60:.1f} minutes at this rate")
    if options.votes:
        print(f"a vote while scoring: {spread(votes(), 2)} s")


if __name__ == "__main__":
    main()
