"""What is to be scored: the plan of a scoring, and whether tasks and models are still those that it was made for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.scoring.folder import Scoring, create
from eval_prompts.scoring.subject import Subject, changed_parts, find_subject
from tuning import __version__
from tuning.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from eval_prompts.models.pair import Side
    from eval_prompts.serving.status import Status

MOST_SAMPLES = 100


def seed_of(seed: int, task: str, question: str, sample: int) -> int:
    """The seed of one sample of one question, the same for both sides. One for all questions would make their draws
    alike, and their errors with them."""
    digest = hashlib.sha256(f"{seed}\n{task}\n{question}\n{sample}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big")


def new_scoring(
    subjects: Sequence[Subject],
    status: Status,
    *,
    sides: Sequence[Side] = ("base", "tuned"),
    samples: int = 1,
    limit: int | None = None,
    jail: bool = False,
    command: Mapping[str, Any] | None = None,
    figures: Sequence[str] = (),
    folder: Path | None = None,
) -> Scoring:
    """A scoring's folder, nothing of which is answered yet; ``folder`` where it lies elsewhere than with the others.

    The first subject is one's own task; others that are greedy are asked once, however many ``samples`` there are.
    ``command`` is what loads these models again; ``figures`` are what is measured besides
    (:data:`eval_prompts.scoring.forgetting.FORGETTING`).

    Raises UserError for what cannot be scored: a side that is not there, several samples of greedy answers.
    """
    if not 1 <= samples <= MOST_SAMPLES:
        raise UserError(f"The samples are from 1 to {MOST_SAMPLES} of each question.")
    if samples > 1 and subjects[0].settings.temperature == 0:
        raise UserError("Samples of greedy answers are all the same: give a --temperature such as 0.7 as well.")
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        raise UserError(f"The same task is named twice ({', '.join(names)}): name each once.")
    check_sides(status, sides)
    plan = {
        "created": round(time.time(), 3),
        "version": __version__,
        **of_subjects(subjects, samples, jail),
        "figures": list(figures) if set(sides) == {"base", "tuned"} else [],
        "sides": list(sides),
        "limit": limit,
        "command": dict(command or {}),
        **whose(status),
    }
    return create(plan, subjects, folder)


def of_subjects(subjects: Sequence[Subject], samples: int, jail: bool) -> dict[str, Any]:
    """What a plan says of the tasks, and of how often they are asked and judged."""
    return {"tasks": [planned(subject, samples) for subject in subjects], "samples": samples, "jail": jail}


def planned(subject: Subject, samples: int) -> dict[str, Any]:
    """A task as it stands in a plan."""
    return subject.to_dict() | {"samples": samples if subject.settings.temperature else 1}


def whose(status: Status) -> dict[str, Any]:
    """Who answers, as a plan records it, places on this machine left out."""
    public = status.to_dict()
    return {
        "model": public["model"],
        "origin": status.origin,
        "device": status.device,
        "adapter": public["adapter"],
        "against": public["against"],
        "fingerprints": fingerprints(status),
    }


def fingerprints(status: Status) -> dict[str, str]:
    """What tells these models from all others: the base's weights, and both adapters."""
    cards = {"adapter": status.adapter, "against": status.against}
    return {"model": status.fingerprint} | {name: card.fingerprint if card else "" for name, card in cards.items()}


def check_sides(status: Status, sides: Sequence[Side]) -> None:
    """Raise UserError where a side is to be scored that is not there."""
    if "tuned" in sides and status.adapter is None:
        raise UserError("There is no tuned side to score: name an --adapter, or score --sides base alone.")


def subjects_of(plan: Mapping[str, Any]) -> list[Subject]:
    """The tasks of a plan as they are now. Raises UserError, naming what has changed, where one is not the same."""
    from eval_prompts.answers import Settings

    found = []
    for recorded in plan["tasks"]:
        settings = Settings(**recorded["settings"] | {"stop": tuple(recorded["settings"].get("stop", ()))})
        subject = find_subject(recorded["source"], settings, plan["limit"])
        changed = changed_parts(subject, recorded["fingerprints"])
        if changed:
            raise UserError(
                f"The task {recorded['name']} has changed since this scoring began ({', '.join(changed)}): put it back "
                "as it was, or start a new scoring."
            )
        found.append(subject)
    return found


def same(
    plan: Mapping[str, Any],
    subjects: Sequence[Subject],
    status: Status,
    samples: int = 1,
    limit: int | None = None,
    jail: bool = False,
) -> bool:
    """Whether a scoring asked just what is asked now, of the same models."""
    recorded = {task["name"]: task for task in plan["tasks"]}
    prints = fingerprints(status)
    names = ("model",) if plan["sides"] == ["base"] else ("model", "adapter")
    return (
        list(recorded) == [subject.name for subject in subjects]
        and (plan["samples"], plan["limit"], plan["jail"]) == (samples, limit, jail)
        and plan["device"] == status.device
        and all(plan["fingerprints"][name] == prints[name] for name in names)
        and all(not changed_parts(one, recorded[one.name]["fingerprints"]) for one in subjects)
        and all(one.settings.to_dict() == recorded[one.name]["settings"] for one in subjects)
    )


def check_models(plan: Mapping[str, Any], status: Status) -> None:
    """Raise UserError, naming what is to be loaded, where a scoring was begun with other models."""
    recorded, now = plan["fingerprints"], fingerprints(status)
    if recorded["model"] != now["model"]:
        raise UserError(f"This scoring is of the model {plan['model']}, and another one is loaded: start that one.")
    for name in ("adapter", "against"):
        if recorded[name] != now[name]:
            wanted = (plan[name] or {}).get("name", "no adapter")
            raise UserError(f"This scoring is of {wanted}, and another adapter is loaded: put that one back first.")
    if plan["device"] != status.device:
        raise UserError(
            f"This scoring was begun on {plan['device']}, and this is {status.device}: both halves would not be "
            "comparable."
        )
