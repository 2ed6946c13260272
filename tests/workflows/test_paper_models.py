"""``isthmus lab paper`` with small random models of open_clip and transformers, saved to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from test_encoders_models import clip_folder, open_clip_name  # noqa: E402, F401

import isthmus as im  # noqa: E402


def classified(encoder: str) -> Any:
    """Twelve pictures of three colours, as arrays of pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 90, (12, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(12) % 3
    pixels[np.arange(12), :, :, labels] += 150
    found = im.lab["paper"].run(
        encoder=encoder,
        images=pixels,
        labels=labels,
        classes=["red cat", "green bird", "blue tree"],
        trials=2,
        strengths=(),
    )
    rows = found.rows()
    assert {row["part"] for row in rows} == {"noise", "bins", "rephrased"}
    exact = [row for row in rows if row["components"] == 2]
    assert all(row["clean_agreement"] == 1 for row in exact)
    ends = [row["gap"] for row in exact if row["strength"] in (0, 1)]
    assert ends[1] < ends[0]
    return found


def test_transformers(clip_folder: Path) -> None:  # noqa: F811
    classified(f"transformers:{clip_folder}")


def test_open_clip(open_clip_name: tuple[str, Any, Any]) -> None:  # noqa: F811
    classified(open_clip_name[0])
