"""Print the tables of ``docs/emoji.md`` from the stored figures and curves.

    python training/show.py [--measure]

With ``--measure`` the shipped models are run again (about 20 s) and the stored figures ignored.
Needs ONNX Runtime and Pillow for ``--measure``, NumPy otherwise; no torch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from measure import measured

from isthmus.encoders.emoji import shipped_models, stored_figures

CURVES = Path(__file__).resolve().parent / "curves"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def pair(found: dict[str, float]) -> str:
    return f"{found['r1']:.3f} / {found['r5']:.3f}"


def recall_table(figures: dict[str, dict[str, Any]]) -> str:
    ways = ("image_to_text", "text_to_image", "image_to_tagged_text")
    rows = []
    for model, found in figures.items():
        for drawing in ("google", "twitter"):
            for split in ("train", "held_out", "all"):
                cell = found[f"{drawing}_{split}"]
                rows.append([model, drawing, split, *(pair(cell[way]) for way in ways)])
    return table(["model", "drawing", "emoji", *(w.replace("_", " ") for w in ways)], rows)


def summary_table(figures: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            model,
            *(f"{f[f'{d}_zero_shot'][s]:.3f}" for d in ("google", "twitter") for s in ("all",)),
            f"{f['twitter_zero_shot']['held_out']:.3f}",
            f"{f['google_gap']:.3f}",
            f"{f['twitter_gap']:.3f}",
        ]
        for model, f in figures.items()
    ]
    head = ["model", "9 classes, google", "twitter", "twitter held out", "gap, google", "twitter"]
    return table(head, rows)


def curve_table() -> str:
    rows = []
    for path in sorted(CURVES.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        points = record["curve"]
        middle = [p for p in points if p["epoch"] in (0, 2, 5, 10, 20, 40)]
        last = points[-1]
        end = "end" if record.get("stopped_after") is None else "stopped"
        shown = [f"{p['epoch']}: {p['gap']:.2f}" for p in middle if p is not last]
        shown.append(f"{end} ({last['epoch']}): {last['gap']:.2f}")
        scale = f"{points[0]['logit_scale']:.1f} → {last['logit_scale']:.1f}"
        rows.append([path.stem, ", ".join(shown), scale, f"{last['r1_twitter']:.3f}"])
    return table(["run", "gap at epoch", "logit scale", "R@1 twitter at the end"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true")
    again = parser.parse_args().measure
    figures = {m: measured(m) if again else stored_figures(m) for m in shipped_models()}
    print(recall_table(figures), summary_table(figures), curve_table(), sep="\n\n")


if __name__ == "__main__":
    main()
