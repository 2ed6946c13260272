"""What the warnings' rules see on real embeddings: ``python -m bench.input_warnings`` prints JSON.

Reads the folder named by ``ISTHMUS_REAL_DATA`` (files that are published, and not part of this
repository; ``docs/warnings.md`` names them). Every set goes through the same stats, moments, gap
report and rules as ``isthmus audit`` under the cosine score. The table of ``docs/warnings.md`` is
this command's output; ``--table`` prints it as Markdown.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.metrics.gap_report import measure
from isthmus.search.pair_warnings import pair_signal

SEED = 0
MODELS = ("clip", "convirt", "videoclip", "clasp")

Sides = tuple[str, np.ndarray, np.ndarray, bool]


def sets(folder: Path) -> list[Sides]:
    """(name, rows of a, rows of b, paired) of everything that is measured."""

    def load(name: str) -> np.ndarray:
        return np.load(folder / name, allow_pickle=False)

    found: list[Sides] = []
    for model in MODELS:
        for state, suffix in (("trained", ""), ("untrained", "_random")):
            both = load(f"modgap/features_{model}{suffix}.npy")
            found.append((f"{model}, {state}", both[0], both[1], True))
    images, captions = load("modgap/features_clip.npy")
    untrained = load("modgap/features_clip_random.npy")[1]
    prompts = load("imagenet-text/a.npy"), load("imagenet-text/a_photo_of_a.npy")
    order = np.random.default_rng(SEED).permutation(len(captions))
    pictures = load("things/clip_feature_maps_test.npy")[:, 0, :]
    found += [
        (
            "nine pairs",
            load("clip-retrieval/img_emb_0.npy"),
            load("clip-retrieval/text_emb_0.npy"),
            True,
        ),
        ("text and text: two prompts", *prompts, True),
        (
            "text and text: LVIS and COCO names",
            load("detic/lvis_v1_clip_a+cname.npy"),
            load("detic/coco_clip_a+cname.npy"),
            False,
        ),
        ("image and image: item and class centre", pictures, load("things/center_clip.npy"), True),
        ("clip, captions shuffled", images, captions[order], True),
        ("clip, captions of the untrained network", images, untrained, True),
        ("clip, rows of another model's texts", images, prompts[0][: len(images)], True),
        ("clip, both sides centred and normalised", centred(images), centred(captions), True),
    ]
    return found


def centred(rows: np.ndarray) -> np.ndarray:
    """Unit rows without their mean, normalised again: a gap that was closed."""
    rows = unit(rows)
    return unit(rows - rows.mean(axis=0))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows over their norms, float64."""
    rows = rows.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def look(name: str, raw_a: np.ndarray, raw_b: np.ndarray, paired: bool) -> dict[str, Any]:
    """The figures behind the rules, and the codes that come out."""
    report = measure(raw_a, raw_b, paired=paired, seed=SEED)
    signal = pair_signal(unit(raw_a), unit(raw_b)) if paired else (None, None, None)
    matched, unmatched, errors = signal
    return {
        "set": name,
        "rows": [len(raw_a), len(raw_b)],
        "dim": raw_a.shape[1],
        "gap": report["norm"],
        "matched_cosine": matched,
        "unmatched_cosine": unmatched,
        "standard_errors": errors,
        "centroid_cosine": report["centroid_cosine"],
        "intra_cosine": report["intra_cosine"],
        "subspace_overlap": report["subspace_overlap"],
        "overlap_by_chance": report["subspace_k"] / raw_a.shape[1],
        "separability_held_out": report["separability"]["held_out"],
        "codes": sorted({w.code for w in report.warnings}),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The same as a Markdown table, without the warnings of one side alone."""
    own = {"not-unit-norm", "duplicates", "fewer-rows-than-dimensions"}
    head = (
        "set",
        "gap",
        "matched",
        "unmatched",
        "errors",
        "means' cosine",
        "intra a / b",
        "overlap / chance",
        "warnings of both sides",
    )
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for row in rows:
        intra, chance = row["intra_cosine"], row["overlap_by_chance"]
        perturbations = [
            row["set"],
            f"{row['gap']:.3f}",
            number(row["matched_cosine"], 3),
            number(row["unmatched_cosine"], 3),
            number(row["standard_errors"], 1),
            number(row["centroid_cosine"], 3),
            f"{intra['a']:.3f} / {intra['b']:.3f}",
            f"{row['subspace_overlap']:.3f} / {chance:.3f}",
            ", ".join(f"`{c}`" for c in row["codes"] if c not in own) or "none",
        ]
        lines.append(" | ".join(perturbations))
    return "\n".join(f"| {line} |" for line in lines)


def number(value: float | None, digits: int) -> str:
    """A rounded number, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def main() -> int:
    """Print JSON (or ``--table``); 1 where the folder is not named."""
    folder = os.environ.get("ISTHMUS_REAL_DATA")
    if not folder:
        print("warnings: ISTHMUS_REAL_DATA does not name a folder of embeddings", file=sys.stderr)
        return 1
    rows = [look(*given) for given in sets(Path(folder))]
    print(table(rows) if "--table" in sys.argv[1:] else json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
