"""The page's named endpoints, for scripts: asking (``/ask``, ``/ask_probes``, ``/ask_pairs``), tasks (``/tasks``,
``/use_task``), voting (``/rate``, ``/undo``), ``/results`` and ``/status``."""

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.answer_facts import answer_dict
from eval_prompts.showing.ask_pages import VERDICT_SECONDS, Asker, ask_both, ask_further
from eval_prompts.showing.certainty import recorded
from eval_prompts.showing.compare_view import filled, settings_from
from eval_prompts.showing.follow_ups import prompt_after, turn_before
from eval_prompts.showing.visitors import Visitors
from eval_prompts.tabs.compare_tab import ASKING_AT_ONCE, address_of
from eval_prompts.tabs.results_tab import VOTING_IS_OPEN
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.choice import TaskChoice, page_of
from eval_prompts.tasks.history import history_of
from eval_prompts.tasks.task import Question, Task
from eval_prompts.votes.results import results as results_of
from tuning.data.chat import Message, check_question
from tuning.errors import UserError
from tuning.shared_tab import IsOwner, add_endpoint

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.serving.lens import Lens
    from eval_prompts.showing.judges import Verdicts
    from eval_prompts.showing.showing import Showing
    from eval_prompts.showing.shown_pairs import ShownPairs

Rows = list[dict[str, Any]]
PATIENT_SECONDS = 30.0
"""How long the last message waits for verdicts, each of which has a limit of its own: a script does not ask again."""
PATIENT_AT_ONCE = 8
"""Requests that may wait so long at a time: each holds a thread. The others wait as the page does."""


def build(
    lens: "Lens",
    visitors: Visitors,
    pairs: "ShownPairs",
    tasks: TaskChoice,
    is_owner: IsOwner = lambda request: True,
    results_for_all: bool = True,
) -> None:
    """Adds the endpoints to the current ``gr.Blocks``; they share the page's queue and its rules. ``is_owner`` tells of
    a request whether it is the owner's, who alone is told the results unless they are ``results_for_all``."""
    patience = threading.Semaphore(PATIENT_AT_ONCE)

    def refuse_names(request: gr.Request) -> None:
        if pairs.always_blind and not is_owner(request):
            raise UserError("Answers are blind here, and this endpoint tells who gave them: use /ask_pairs.")

    def asker(request: gr.Request, named: str) -> Asker:
        return Asker(request.session_hash or "", address_of(request), named, visitors.follow)

    def wait_long(verdicts: "Verdicts") -> None:
        long = patience.acquire(blocking=False)
        try:
            verdicts.wait(PATIENT_SECONDS if long else VERDICT_SECONDS)
        finally:
            if long:
                patience.release()

    def stream_rows(
        task: Task,
        questions: list[Question],
        settings: tuple[Any, ...],
        request: gr.Request,
        blind: bool,
        row: Callable[..., Rows],
        named: str = "",
        history: tuple[Message, ...] = (),
    ) -> Iterator[Rows]:
        """Asks, and yields ``row(showing, answers)`` as the answers grow, at last when they are judged too.
        ``named`` is the name of the task, if whoever asks gave one; ``history`` are the turns before each question."""
        who = asker(request, named)
        stream = ask_both(lens, tasks, who, task, questions, settings_from(*settings), history)
        showing = pairs.show(stream, lens.status, who.session, blind, task, questions)
        for answers in showing.follow(who.follow(stream, who.session), pairs.keep, wait_long):
            yield row(showing, answers)

    def ask(
        question: str,
        request: gr.Request,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        task: str = "",
        messages: list[dict[str, Any]] | None = None,
    ) -> Iterator[tuple[str, str]]:
        """Asks both models one question and streams their answers so far.

        Args:
            question: a question, at most 20,000 characters.
            max_new_tokens: where an answer is cut off at the latest; this and the next three, left out, are the task's.
            temperature: 0 always takes the likeliest token; higher is more varied.
            top_p: the share of probability that stays in play when the temperature is above 0.
            seed: the same seed gives the same text twice.
            task: the name of a task (see /tasks), whose prompt the question is put in; empty for the one in use, or, if
                the owner chose none, for the prompt that the adapter was trained in.
            messages: the conversation before the question, each turn with role and content, the last one an answer;
                the question is then put as it is, behind the task's system prompt unless these bring one.

        Returns:
            The base model's answer and the tuned model's answer.
        """
        refuse_names(request)
        named, who = tasks.named(task), asker(request, task)
        questions = [named.own_question(check_question(question))]
        settings = settings_from(*filled(named, max_new_tokens, temperature, top_p, seed))
        stream = ask_both(lens, tasks, who, named, questions, settings, history_of(messages))
        for base, tuned in who.follow(stream, who.session):
            yield base.text, tuned.text

    def ask_probes(
        request: gr.Request,
        max_new_tokens: int = 300,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        confidence: bool = False,
    ) -> Iterator[Rows]:
        """Asks both models the five probe questions and streams the ten answers so far. Unless the owner chose a task,
        they are put in the prompt that the adapter was trained in.

        Args:
            max_new_tokens: where an answer is cut off at the latest.
            temperature: 0 always takes the likeliest token; higher is more varied.
            top_p: the share of probability that stays in play when the temperature is above 0.
            seed: the same seed gives the same text twice.
            confidence: whether to tell how likely each model found every token of its answer.

        Returns:
            Ten objects with probe, question, side ('base' or 'tuned'), text, tokens, seconds, stopped, which is true
            once the model has ended the answer itself, verdict, what the machine found so far ('checking' and
            'badges'), and pair, by which the answer and its counterpart can be voted on with /rate; base stands left;
            with confidence where asked for: each token with its probability, or null.
        """
        refuse_names(request)
        settings = (max_new_tokens, temperature, top_p, seed, confidence)
        probes = python_task()
        yield from stream_rows(probes, list(probes.questions), settings, request, False, _answer_rows)

    def ask_pairs(
        request: gr.Request,
        question: str = "",
        blind: bool = True,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        task: str = "",
        page: int = 1,
        confidence: bool = False,
        messages: list[dict[str, Any]] | None = None,
    ) -> Iterator[Rows]:
        """Asks both models one question, or those of a task, and streams pairs of answers to be voted on with /rate.

        Args:
            question: a question; empty for those of the task.
            blind: whether to hide which model stands left and which right until the pair is voted on.
            max_new_tokens: where an answer is cut off at the latest; this and the next three, left out, are the task's.
            temperature: 0 always takes the likeliest token; higher is more varied.
            top_p: the share of probability that stays in play when the temperature is above 0.
            seed: the same seed gives the same text twice.
            task: the name of a task (see /tasks); empty for the one in use. If the owner chose none, these are the five
                probes, put in the prompt that the adapter was trained in.
            page: which fifty of the task's questions to ask, if it has more.
            confidence: whether to tell how likely each model found every token of its answer.
            messages: the conversation before a question of one's own, as for /ask.

        Returns:
            One object for each question with pair (its id), question, blind, names (which model stands 'left' and
            'right'; null while that is hidden), left and right, each with text, tokens, state and verdict (null while
            the pair is hidden), and confidence where it was asked for and is not hidden.
        """
        named = tasks.named(task)
        history = history_of(messages)
        if history and not question:
            raise UserError("A conversation goes before a question of your own: give the question too.")
        questions = [named.own_question(check_question(question))] if question else page_of(named, page)
        settings = (*filled(named, max_new_tokens, temperature, top_p, seed), confidence)
        yield from stream_rows(named, questions, settings, request, blind, _pair_rows, task, history)

    def follow_up(
        request: gr.Request,
        pair: str,
        question: str,
        basis: str = "own",
        max_new_tokens: int = 300,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        confidence: bool = False,
    ) -> Iterator[Rows]:
        """Goes on from a pair of answers and streams the next one, which can be voted on and followed up in turn.

        Args:
            pair: the id that /ask_pairs, /ask_probes or this endpoint gave.
            question: what is said next.
            basis: 'own' where each side goes on from its own answer; 'left' or 'right' where both go on from that one.
            max_new_tokens: where an answer is cut off at the latest.
            temperature: 0 always takes the likeliest token; higher is more varied.
            top_p: the share of probability that stays in play when the temperature is above 0.
            seed: the same seed gives the same text twice.
            confidence: whether to tell how likely each model found every token of its answer.

        Returns:
            One object as /ask_pairs gives it; its pair with 'whole-' before it is the conversation so far, on which
            /rate votes too. It is blind as long as the pair before hides who is who.
        """
        who, turn = asker(request, ""), turn_before(pairs, pair, basis)
        prompt, task = prompt_after(turn, question), tasks.remembered(turn.task)
        settings = settings_from(max_new_tokens, temperature, top_p, seed, confidence)
        stream, showing = ask_further(lens, pairs, who, task, turn, prompt, settings)
        for answers in showing.follow(who.follow(stream, who.session), pairs.keep, wait_long):
            yield _pair_rows(showing, answers)

    def rate(
        request: gr.Request, pair: str, choice: str, reasons: list[str] | None = None, comment: str = ""
    ) -> dict[str, Any]:
        """Votes on a pair of answers, or changes the vote; one vote counts for each pair and session.

        A vote on answers that are still being written ends them. When this returns, the vote is on disk.

        Args:
            pair: the id that /ask_pairs or /ask_probes gave.
            choice: 'left', 'right', 'tie' or 'both_bad'.
            reasons: why, in tags; the message on an unknown one lists those there are.
            comment: why, in words.

        Returns:
            The vote as it is kept, and what it reveals: which model stood left and right, and the verdicts.
        """
        return pairs.rate(pair, request.session_hash or "", choice, reasons or (), comment, address_of(request))

    def undo(request: gr.Request, pair: str) -> bool:
        """Takes this session's vote on a pair back.

        Args:
            pair: the id that /ask_pairs or /ask_probes gave.

        Returns:
            Whether there was a vote to take back.
        """
        return pairs.undo(pair, request.session_hash or "")

    def results(request: gr.Request, adapter: str = "") -> dict[str, Any]:
        """What people and the machine found so far.

        Args:
            adapter: the name of one adapter; empty for the one that was asked last.

        Returns:
            One object with adapter, adapters, comparisons, votes (counts of outcomes, 'blind' and 'open' apart),
            statistics (win rate with its interval and test, position, agreement, lengths) and probes.
        """
        if not (results_for_all or is_owner(request)):
            raise UserError(VOTING_IS_OPEN)
        if not isinstance(adapter, str):
            raise UserError("The adapter is given by its name.")
        return results_of(pairs.ratings, adapter or None)

    def list_tasks() -> Rows:
        """The tasks that can be asked, each with its prompt and its scorers.

        Returns:
            One object for each task with name, title, description, questions (their count), system, user, score,
            built_in and in_use.
        """
        return tasks.listed()

    def use_task(task: str) -> dict[str, Any]:
        """Has the page ask another task from now on. For the owner alone.

        Args:
            task: a task's name, or its file on the server.

        Returns:
            The task as /tasks lists it.
        """
        return tasks.use(task)

    list_tasks.__name__ = "tasks"

    def status() -> dict[str, Any]:
        """What is loaded, from where, and what the server does right now.

        Returns:
            One object with state ('loading', 'ready' or 'failed'), message, progress, model, origin, device, adapter,
            against, base_is_base, memory_mb, answering, queued, uptime_seconds, version and fingerprint.
        """
        return tasks.noted(lens.status()).to_dict()

    for streamed in (ask, ask_probes, ask_pairs, follow_up):
        add_endpoint(streamed, concurrency_limit=ASKING_AT_ONCE, concurrency_id="asking")
    for answer_at_once in (rate, undo, results, list_tasks, use_task):
        add_endpoint(answer_at_once, queue=False)
    add_endpoint(status, queue=False)


def _answer_rows(showing: "Showing", answers: "list[Answer]") -> Rows:
    return [
        answer_dict(answer) | {"pair": showing.pairs[answer.index].id, "verdict": showing.verdict(answer)}
        for answer in answers
    ]


def _pair_rows(showing: "Showing", answers: "list[Answer]") -> Rows:
    rows = []
    for pair in showing.pairs:
        sides = {answer.side: answer for answer in answers if answer.index == pair.index}
        names = pair.names
        row: dict[str, Any] = {"pair": pair.id, "question": sides["base"].question, "blind": showing.blind}
        row["names"] = names if pair.revealed else None
        for place, side in names.items():
            answer = sides[side]
            told = {"text": answer.text, "tokens": answer.tokens, "state": answer.state}
            row[place] = told | {"verdict": showing.verdict(answer)}
            if showing.confidence(answer) is not None:
                row[place]["confidence"] = recorded(answer)
        rows.append(row)
    return rows
