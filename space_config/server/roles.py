"""Who may call what: one table of the page's endpoints and one of the server's routes.

A name that stands in neither table is the owner's alone, and a route that stands in none answers nobody. The names
of endpoints are gradio's ``api_name``; a function that a component offers to its script is ``elem_id/name``.
"""

from __future__ import annotations

import re
from enum import IntEnum


class Role(IntEnum):
    """A visitor may ask and rate; the owner may do everything."""

    VISITOR = 0
    OWNER = 1


class Kind(IntEnum):
    """What a call costs, by which it is limited."""

    READ = 0
    ASK = 1
    WRITE = 2


ENDPOINTS: dict[str, tuple[Role, Kind]] = {
    "answer_on_page": (Role.VISITOR, Kind.ASK),
    "answer_on_page_1": (Role.VISITOR, Kind.ASK),
    "answer_on_page_2": (Role.VISITOR, Kind.ASK),
    "follow_up": (Role.VISITOR, Kind.ASK),
    "ask": (Role.VISITOR, Kind.ASK),
    "ask_probes": (Role.VISITOR, Kind.ASK),
    "ask_pairs": (Role.VISITOR, Kind.ASK),
    "stop_mine": (Role.VISITOR, Kind.READ),
    "task_in_use": (Role.VISITOR, Kind.READ),
    "forget": (Role.VISITOR, Kind.READ),
    "rate": (Role.VISITOR, Kind.WRITE),
    "undo": (Role.VISITOR, Kind.WRITE),
    "tasks": (Role.VISITOR, Kind.READ),
    "use_task": (Role.OWNER, Kind.READ),
    "save_task": (Role.OWNER, Kind.WRITE),
    "delete_task": (Role.OWNER, Kind.READ),
    "export_task": (Role.OWNER, Kind.READ),
    "preview_task": (Role.VISITOR, Kind.READ),
    "results": (Role.VISITOR, Kind.READ),
    "status": (Role.VISITOR, Kind.READ),
    "token_lens": (Role.VISITOR, Kind.ASK),
    "adapter_report": (Role.VISITOR, Kind.ASK),
    "ll-board/tokens": (Role.VISITOR, Kind.ASK),
    "ll-board/what_if": (Role.VISITOR, Kind.ASK),
    "ll-lens/tokens": (Role.VISITOR, Kind.ASK),
    "ll-lens/what_if": (Role.VISITOR, Kind.ASK),
    "compare_strengths": (Role.VISITOR, Kind.ASK),
    "surveys": (Role.VISITOR, Kind.READ),
    "survey": (Role.VISITOR, Kind.READ),
    "start_survey": (Role.OWNER, Kind.WRITE),
    "stop_survey": (Role.OWNER, Kind.READ),
    "ll-lens/strengths_begin": (Role.VISITOR, Kind.ASK),
    "ll-lens/strengths_look": (Role.VISITOR, Kind.READ),
    "ll-lens/strengths_stop": (Role.VISITOR, Kind.READ),
    "ll-lens/survey": (Role.VISITOR, Kind.READ),
    "ll-lens/survey_form": (Role.OWNER, Kind.READ),
    "ll-lens/start_survey": (Role.OWNER, Kind.WRITE),
    "ll-lens/use_best": (Role.OWNER, Kind.READ),
    "ll-lens/stop_survey": (Role.OWNER, Kind.READ),
    "ll-header/adapter_report": (Role.VISITOR, Kind.ASK),
    "ll-header/set_strength": (Role.OWNER, Kind.READ),
    "ll-header/keep_strength": (Role.OWNER, Kind.WRITE),
    "use_strength": (Role.OWNER, Kind.READ),
    "ll-header/evidence": (Role.VISITOR, Kind.READ),
    "ll-header/status": (Role.VISITOR, Kind.READ),
    "ll-board/rate": (Role.VISITOR, Kind.WRITE),
    "ll-board/undo": (Role.VISITOR, Kind.WRITE),
    "ll-board/judged": (Role.VISITOR, Kind.READ),
    "ll-board/asked_page": (Role.VISITOR, Kind.READ),
    "ll-board/asked_now": (Role.VISITOR, Kind.READ),
    "ll-board/report": (Role.VISITOR, Kind.READ),
    "open": (Role.OWNER, Kind.WRITE),
    "ll-open/offered": (Role.OWNER, Kind.READ),
    "ll-open/look": (Role.OWNER, Kind.READ),
    "ll-open/begin": (Role.OWNER, Kind.WRITE),
    "ll-open/progress": (Role.OWNER, Kind.READ),
    "ll-open/take_zip": (Role.OWNER, Kind.WRITE),
    "ll-tasks/listed": (Role.VISITOR, Kind.READ),
    "ll-tasks/questions": (Role.VISITOR, Kind.READ),
    "ll-tasks/look": (Role.OWNER, Kind.READ),
    "ll-tasks/form": (Role.OWNER, Kind.READ),
    "ll-tasks/score": (Role.OWNER, Kind.READ),
    "ll-tasks/save": (Role.OWNER, Kind.WRITE),
    "ll-tasks/remove": (Role.OWNER, Kind.READ),
    "ll-tasks/export": (Role.OWNER, Kind.READ),
    "ll-tasks/bring": (Role.OWNER, Kind.WRITE),
    "ll-tasks/use": (Role.OWNER, Kind.READ),
    "ll-tasks/use_adapter": (Role.OWNER, Kind.READ),
    "ll-tasks/take_file": (Role.OWNER, Kind.WRITE),
    "ll-tasks/sources": (Role.OWNER, Kind.READ),
    "ll-tasks/take_rows": (Role.OWNER, Kind.WRITE),
    "ll-results/results": (Role.VISITOR, Kind.READ),
    "ll-results/export_votes": (Role.OWNER, Kind.READ),
    "ll-results/votes_lesson": (Role.OWNER, Kind.READ),
    "ll-results/train_on_votes": (Role.OWNER, Kind.WRITE),
    "runs": (Role.VISITOR, Kind.READ),
    "training_events": (Role.VISITOR, Kind.READ),
    "start_training": (Role.OWNER, Kind.WRITE),
    "stop_training": (Role.OWNER, Kind.READ),
    "use_adapter": (Role.OWNER, Kind.READ),
    "ll-train/may": (Role.VISITOR, Kind.READ),
    "ll-train/look": (Role.VISITOR, Kind.READ),
    "ll-train/runs": (Role.VISITOR, Kind.READ),
    "ll-train/curves": (Role.VISITOR, Kind.READ),
    "ll-train/waiting": (Role.VISITOR, Kind.READ),
    "ll-train/enqueue": (Role.OWNER, Kind.WRITE),
    "ll-train/drop": (Role.OWNER, Kind.READ),
    "ll-train/pause": (Role.OWNER, Kind.WRITE),
    "ll-train/dismiss": (Role.OWNER, Kind.READ),
    "ll-train/note": (Role.OWNER, Kind.WRITE),
    "ll-train/check": (Role.OWNER, Kind.READ),
    "ll-train/calibrate": (Role.OWNER, Kind.WRITE),
    "ll-train/keep_upload": (Role.OWNER, Kind.WRITE),
    "ll-train/merge": (Role.OWNER, Kind.WRITE),
    "ll-train/export": (Role.OWNER, Kind.WRITE),
    "ll-train/stop_export": (Role.OWNER, Kind.READ),
    "export_run": (Role.OWNER, Kind.WRITE),
    "exports": (Role.OWNER, Kind.READ),
    "ll-train/preview": (Role.OWNER, Kind.READ),
    "ll-train/push": (Role.OWNER, Kind.WRITE),
    "ll-train/resume": (Role.OWNER, Kind.WRITE),
    "ll-train/start": (Role.OWNER, Kind.WRITE),
    "ll-train/take_adapter": (Role.OWNER, Kind.WRITE),
    "ll-train/sources": (Role.OWNER, Kind.READ),
    "ll-train/stop": (Role.OWNER, Kind.READ),
    "ll-train/delete": (Role.OWNER, Kind.READ),
    "ll-train/use_checkpoint": (Role.OWNER, Kind.WRITE),
    "ll-train/blind_round": (Role.OWNER, Kind.WRITE),
    "ll-train/use": (Role.OWNER, Kind.READ),
    "scorings": (Role.VISITOR, Kind.READ),
    "scoring": (Role.VISITOR, Kind.READ),
    "start_scoring": (Role.OWNER, Kind.WRITE),
    "stop_scoring": (Role.OWNER, Kind.READ),
    "resume_scoring": (Role.OWNER, Kind.WRITE),
    "extend_scoring": (Role.OWNER, Kind.WRITE),
    "judge_scoring": (Role.OWNER, Kind.WRITE),
    "ll-score/look": (Role.VISITOR, Kind.READ),
    "ll-score/pair": (Role.VISITOR, Kind.READ),
    "ll-score/history": (Role.VISITOR, Kind.READ),
    "ll-score/against": (Role.VISITOR, Kind.READ),
    "ll-score/take": (Role.VISITOR, Kind.READ),
    "ll-score/form": (Role.OWNER, Kind.READ),
    "ll-score/start": (Role.OWNER, Kind.WRITE),
    "ll-score/stop": (Role.OWNER, Kind.READ),
    "ll-score/resume": (Role.OWNER, Kind.WRITE),
    "ll-score/train_on_passing": (Role.OWNER, Kind.WRITE),
    "ll-score/extend": (Role.OWNER, Kind.WRITE),
    "ll-score/judge": (Role.OWNER, Kind.WRITE),
    "ll-score/stop_judge": (Role.OWNER, Kind.READ),
    "ll-score/take_suite": (Role.OWNER, Kind.WRITE),
    "ll-score/delete": (Role.OWNER, Kind.READ),
}
"""Every endpoint of the page. Votes are shown to all in sum; what single people wrote is exported by the owner. What
names files of the server is the owner's too: ``check`` tells whether one is there. What ends something or makes room
counts as reading, so that it works when the disk is full."""

API = "/gradio_api"
OPEN_ROUTES = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/pwa_icon"
    r"|/(assets|static)(/[\w@+-][\w.@+-]*)+"
    rf"|{API}/(theme\.css|info|openapi\.json|app_id|startup-events|queue/status|queue/data|heartbeat/[\w-]+)"
    rf"|{API}/call/(v2/)?\w+/\w+"
)
"""Pages, their parts, and the channels by which answers arrive: GET and HEAD, for everyone."""
CLOSED_QUERIES = frozenset({"deep_link"})
"""Queries with which an open route would read files of the server."""
CALL_ROUTE = re.compile(rf"{API}/(?:queue/join|component_server|(?:run|api|call|call/v2)/(?P<name>\w+))")
"""POST routes that run a function of the page; the endpoint table says who may."""
SIDE_ROUTES = frozenset({f"{API}/cancel", f"{API}/reset"})
"""POST routes that run nothing: they end what the caller himself has begun."""
UPLOAD_ROUTE = f"{API}/upload"
OWNER_ROUTES = re.compile(rf"{API}/(upload_progress|file=(?!\w+:).+)")
"""GET routes for the owner alone: what he has uploaded, and never an address elsewhere."""


def rule(endpoint: str) -> tuple[Role, Kind]:
    """Who may call an endpoint, and what it costs; what is not in the table is the owner's and writes."""
    return ENDPOINTS.get(endpoint, (Role.OWNER, Kind.WRITE))
