"""The loss curve of the run that an adapter came from, as an inline SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuning.runs import events

WIDTH, HEIGHT = 640.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 12.0, 30.0
MOST_POINTS = 400
Point = tuple[float, float]


@dataclass(frozen=True)
class LossCurve:
    """Losses by step, in nats per answer token: of each training step, and of each validation."""

    training: tuple[Point, ...]
    validation: tuple[Point, ...]


def read_curve(adapter: Path) -> LossCurve | None:
    """The curve of the run whose folder holds this adapter folder; None where there is no such run."""
    recorded = events.history(events.read(adapter.resolve().parent / "events.jsonl")[0])
    curve = LossCurve(_points(recorded, "step", "loss"), _points(recorded, "validation", "validation_loss"))
    return curve if len(curve.training) + len(curve.validation) > 1 else None


def _points(recorded: Sequence[events.Event], kind: str, key: str) -> tuple[Point, ...]:
    found = [(event.get("step"), event.get(key)) for event in recorded if event["event"] == kind]
    return tuple((float(x), float(y)) for x, y in found if isinstance(x, int | float) and isinstance(y, int | float))


def svg(curve: LossCurve) -> str:
    """The curve as one SVG element that takes its colours from the page (classes ``training``, ``validation``)."""
    points = curve.training + curve.validation
    low, high = min(y for _, y in points), max(y for _, y in points)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    last = max(x for x, _ in points) or 1.0

    def place(point: Point) -> str:
        x = LEFT + point[0] / last * (WIDTH - LEFT - RIGHT)
        y = TOP + (high - point[1]) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    def line(series: Sequence[Point], name: str) -> str:
        thinned = series[:: max(1, len(series) // MOST_POINTS)]
        return f'<polyline class="{name}" points="{" ".join(map(place, thinned))}"/>' if thinned else ""

    dots = "".join(
        '<circle class="validation" cx="{}" cy="{}" r="3"/>'.format(*place(p).split(",")) for p in curve.validation
    )
    axis = HEIGHT - BOTTOM
    labels = [
        (LEFT - 6, TOP + 4, "end", f"{high:.2f}"),
        (LEFT - 6, axis, "end", f"{low:.2f}"),
        (LEFT, HEIGHT - 10, "start", "step 0"),
        (WIDTH - RIGHT, HEIGHT - 10, "end", f"step {last:,.0f}"),
    ]
    words = "".join(
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{html.escape(text)}</text>'
        for x, y, anchor, text in labels
    )
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="Loss by training step, from {high:.2f} to {low:.2f}">'
        f'<path class="axis" d="M{LEFT} {TOP}V{axis}H{WIDTH - RIGHT}"/>'
        f"{line(curve.training, 'training')}{line(curve.validation, 'validation')}{dots}{words}</svg>"
    )
