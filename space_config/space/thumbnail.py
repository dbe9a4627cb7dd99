"""Draws the Space's thumbnail: ``python -m space_config.space.thumbnail`` writes ``thumbnail.png`` beside this file."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT, SCALE = 1200, 630, 2
GROUND, PAPER, INK, FAINT = "#18181b", "#27272a", "#fafafa", "#71717a"
BASE, TUNED, GOOD, BAD = "#60a5fa", "#f59e0b", "#22c55e", "#ef4444"
LINES = ((0.9, 0.7, 0.8, 0.35), (0.6, 0.8, 0.5, 0.0))


def draw() -> Image.Image:
    """Two answers side by side under a lens, in the page's colours; [1200, 630] pixels."""
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), GROUND)
    pen = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float, fill: str, radius: float = 12) -> None:
        pen.rounded_rectangle([value * SCALE for value in (left, top, right, bottom)], radius * SCALE, fill)

    for column, (accent, verdict, widths) in enumerate(((BASE, BAD, LINES[0]), (TUNED, GOOD, LINES[1]))):
        left = 90 + column * 520
        box(left, 110, left + 490, 520, PAPER, 18)
        box(left, 110, left + 490, 122, accent, 6)
        box(left + 36, 156, left + 150, 180, accent)
        for row, width in enumerate(widths):
            if width:
                box(left + 36, 220 + row * 48, left + 36 + width * 400, 240 + row * 48, INK if row else FAINT)
        box(left + 36, 450, left + 130, 486, verdict, 18)
    _lens(pen)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _lens(pen: ImageDraw.ImageDraw) -> None:
    x, y, radius, stroke = 600 * SCALE, 300 * SCALE, 120 * SCALE, 18 * SCALE
    pen.line([x + radius * 0.7, y + radius * 0.7, x + radius * 1.6, y + radius * 1.6], FAINT, stroke * 2)
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=INK, width=stroke)


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("thumbnail.png"), optimize=True)
