"""Rows that differ by a scale and an offset in each dimension: codes that were not decoded.

Integer codes hold (value - offset) / scale of every dimension. Turned to floats as they are, they
look like rows, and their answers are wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.core.seeds import stream
from isthmus.deploy.comparison.rows import Version
from isthmus.search.scores import Ranking, top1

LEAST_ROWS = 20
EXPLAINED = 0.9
"""Share of the new rows' variance that scales and offsets explain, on rows not fitted on."""
LEFT = 0.25
"""Share of the squared error of the rows as searched that is left after decoding, at most."""
SCALED = 1.05
"""Scales within this factor of 1 are none: one vector was added."""
CHECKED = 2000


def affine_hint(
    before: Version, after: Version, others: np.ndarray, *, cosine: bool, score: str, seed: int
) -> dict[str, Any] | None:
    """Scales and offsets that take the old rows to the new ones, where they explain the change.

    They are fitted on one half of the rows; shares and flips are of the other. ``others``: the
    candidates as searched. None where the rows do not differ so. O(n d), and one search of at most
    2,000 queries.
    """
    count = len(before)
    if count < 2 * LEAST_ROWS:
        return None
    order = stream("compare.affine", seed).permutation(count)
    fit, held = np.sort(order[: count // 2]), np.sort(order[count // 2 :][:CHECKED])
    old, new = before.given[fit], after.given[fit]
    spread = old.var(axis=0)
    if not (spread > 0).all():
        return None
    scale = ((old - old.mean(axis=0)) * (new - new.mean(axis=0))).mean(axis=0) / spread
    if not (np.abs(scale) > 0).all():
        return None
    offset = new.mean(axis=0) - scale * old.mean(axis=0)
    rest = after.given[held] - (scale * before.given[held] + offset)
    total = ((after.given[held] - new.mean(axis=0)) ** 2).sum()
    explained = 1 - float((rest**2).sum() / total) if total else 0.0
    decoded = (after.given[held] - offset) / scale
    if cosine:
        decoded = np.asarray(unit(decoded))
    error = ((after.searched[held] - before.searched[held]) ** 2).sum()
    left = float(((decoded - before.searched[held]) ** 2).sum() / error) if error else 1.0
    sizes = np.abs(scale)
    scaled = bool(sizes.max() > SCALED or sizes.min() < 1 / SCALED)
    if explained < EXPLAINED or left > LEFT or not scaled:
        return None
    today = top1(Ranking.of(before.searched[held], others, score))
    flips = float((top1(Ranking.of(decoded, others, score)) != today).mean())
    low, high = float(sizes.min()), float(sizes.max())
    return {
        "explained": explained,
        "error_left": left,
        "scale": [low, high],
        "decoded_flip_rate": flips,
        "words": (
            f"the new {before.name} rows are the old ones by a scale and an offset in each "
            f"dimension (scales {low:.3g} to {high:.3g}, {explained:.1%} of their variance), as "
            "integer codes are that were turned to floats without decoding; decode them as "
            f"(code - offset) / scale of each dimension: {flips:.2%} of answers then flip"
        ),
    }
