"""The story in order: embed, audit, perturb the inputs, show what flipped, write one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isthmus.core.progress import Progress, quiet
from isthmus.encoders.emoji import stored_figures
from isthmus.perturb.images import ImagePerturbation
from isthmus.perturb.text import TextPerturbation
from isthmus.workflows.audits import Audit, audit
from isthmus.workflows.demo.flips import flip_gallery
from isthmus.workflows.demo.inputs import measure_trials
from isthmus.workflows.demo.rows import UNSEEN, DemoRows, embed_world

NAMES = ("pictures", "names")
JPEG, TYPO = ImagePerturbation("jpeg", 30), TextPerturbation("typo_any", 1)
"""What is done to pictures and names for the ruler."""


@dataclass(frozen=True, eq=False)
class Story:
    """The audit of the demo, and the rows it was made of."""

    audit: Audit
    rows: DemoRows


def run_demo(*, encoder: str = "emoji", seed: int = 0, progress: Progress | None = None) -> Story:
    """Run the demo on the drawings the model has never seen. About a minute on two cores.

    Returns:
        The rows, and an audit whose report has one more key, ``demo``: the model's stored
        figures, input-level stress with diagnoses, and galleries of flipped answers.

    Raises:
        MissingExtra: ONNX Runtime or Pillow is not installed.
    """
    say = progress or quiet
    rows = embed_world(encoder, say)
    result = audit(
        rows.unseen,
        rows.names,
        names=NAMES,
        disturbed_queries={"JPEG 30": rows.changed_images(JPEG, seed)},
        disturbed_candidates={"a word mistyped": rows.changed_texts(TYPO, seed)},
        seed=seed,
        progress=say,
    )
    for side, name in zip("ab", NAMES, strict=True):  # the files that save_rows writes
        result.report["inputs"][side]["source"] = f"{name}.npy"
    model = encoder.partition(":")[2] or None
    result.report["demo"] = {
        "encoder": encoder,
        "drawing": UNSEEN,
        "emoji": len(rows.names),
        "figures": stored_figures(model),
        "inputs": measure_trials(rows, seed=seed, progress=say),
        "flips": flip_gallery(rows, seed=seed),
    }
    return Story(result, rows)


def save_rows(out: Path, rows: DemoRows) -> None:
    """Write ``pictures.npy`` and ``names.npy``, so that every command can be tried on them."""
    from isthmus.data import write_rows

    write_rows(out / "pictures.npy", rows.unseen.astype("float32"))
    write_rows(out / "names.npy", rows.names.astype("float32"))
