"""The picture of the README: ``python -m bench.flips_picture REPORT.json docs/flips.svg``.

The report is that of ``isthmus demo``.

Names whose stored picture was disturbed: the answer before, the wrong one under noise, and the one
with closing, as the demo found them. The drawings are Twemoji (NOTICE).
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path

SHOWN, SIZE = 5, 64
FONT, LETTERS = 14.0, 270.0
"""Size of a name in pixels, and letters times size that fit into its column: longer ones shrink."""
COLUMNS = (("clean", "before"), ("flipped", "under noise"), ("closed", "with closing"))


def picture(report: dict) -> str:
    """The first five flips of the noise gallery that closing undid, as one SVG."""
    gallery = next(g for g in report["demo"]["flips"] if g["family"] == "gaussian")
    items = gallery["shown"][:SHOWN]
    width, height = 170 * len(items) + 20, 320
    font = 'font-family="system-ui, sans-serif"'
    said = (
        f"Search by name among {gallery['queries']:,} stored pictures: noise flips "
        f"{gallery['flips_before']} answers, {gallery['flips_after']} with the gap closed"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {font} '
        f'role="img"><title>{escape(said)}</title>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<text x="20" y="28" font-size="16" fill="#1d2733">{escape(said)}</text>',
    ]
    for i, item in enumerate(items):
        x = 30 + 170 * i
        right = x + SIZE + 10
        name = f"“{item['query']}”"
        font_size = min(FONT, LETTERS / len(name))
        parts.append(
            f'<text x="{x + 60}" y="58" font-size="{font_size:.3g}" font-weight="600" '
            f'text-anchor="middle" fill="#1d2733">{escape(name)}</text>'
        )
        for row, (key, label) in enumerate(COLUMNS):
            y, colour = 70 + 82 * row, "#d55e00" if key == "flipped" else "#009e73"
            parts.append(
                f'<rect x="{x - 3}" y="{y - 3}" width="{SIZE + 6}" height="{SIZE + 6}" rx="6" '
                f'fill="none" stroke="{colour}" stroke-width="3"/>'
                f'<image x="{x}" y="{y}" width="{SIZE}" height="{SIZE}" '
                f'href="{item[key]["picture"]}"/>'
                f'<text x="{right}" y="{y + 30}" font-size="12" fill="#5b6875">{label}</text>'
                f'<text x="{right}" y="{y + 48}" font-size="16" fill="{colour}">'
                f"{'×' if key == 'flipped' else '✓'}</text>"
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:3])
    out.write_text(picture(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")
