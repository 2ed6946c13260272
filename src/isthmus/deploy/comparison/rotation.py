"""Do two versions differ by a rotation? Then each is as good as the other, and they never mix."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.seeds import stream
from isthmus.core.statistics import wilson
from isthmus.search.scores import Ranking, top1

LOOK_ABOVE = 0.01  # relative error below which a rotation explains nothing that matters
HELPS = 0.5
FIT_SHARE = 0.8
FIT_MOST, HELD_MOST = 50_000, 2000


def rotation_hint(
    score: str,
    before: np.ndarray,
    after: np.ndarray,
    candidates: np.ndarray,
    after_candidates: np.ndarray | None,
    *,
    items: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any] | None, np.ndarray | None]:
    """The orthogonal map that lays new rows on old ones, judged on rows it was not fitted on.

    Args:
        score: dot or euclidean. before, after: (n, d) float64, as searched. candidates: (K, d).
        after_candidates: their new version or None. items: (K,) lowest row of each row's item.

    Returns:
        Figures and the map R (d, d) with ``after @ R`` ≈ ``before``, fitted on a seeded four
        fifths of the rows, up to 50,000 (``scipy.linalg.orthogonal_procrustes``, Schönemann 1966).
        Residuals are ‖turned - before‖ / ‖before‖ (Frobenius) of the other fifth, up to 2,000;
        ``rotated`` where turning more than halves them. (None, None) where the versions agree to
        1 % or n < 10. With fewer fitted rows than dimensions the map is known in part only, and
        residuals are too large.
    """
    if len(before) < 10 or _relative(after - before, before) <= LOOK_ABOVE:
        return None, None
    from scipy.linalg import orthogonal_procrustes

    order = stream("compare.rotation", seed).permutation(len(before))
    cut = int(FIT_SHARE * len(order))
    fit, held = order[: min(cut, FIT_MOST)], np.sort(order[cut:][:HELD_MOST])
    turn = orthogonal_procrustes(after[fit], before[fit])[0]
    turned = after[held] @ turn
    plain = _relative(after[held] - before[held], before[held])
    left = _relative(turned - before[held], before[held])
    found = [top1(Ranking.of(rows, candidates, score)) for rows in (before[held], turned)]
    old, new = found if items is None else (items[rows] for rows in found)
    flips = old != new
    moved = None
    if after_candidates is not None:
        moved = _relative(after_candidates @ turn - candidates, candidates)
    hint = {
        "rotated": bool(left < HELPS * plain),
        "fit_rows": len(fit),
        "held_out_rows": len(held),
        "residual_before": plain,
        "residual_after": left,
        **wilson(int(flips.sum()), len(held)).named("flips_after"),
        "candidates_residual_after": moved,
        "underdetermined": len(fit) < before.shape[1],
    }
    return hint | {"words": _words(hint, before.shape[1]) if hint["rotated"] else ""}, turn


def _relative(error: np.ndarray, rows: np.ndarray) -> float:
    """‖error‖ over ‖rows‖ (Frobenius)."""
    return float(np.linalg.norm(error) / max(float(np.linalg.norm(rows)), 1e-300))


def _words(hint: dict[str, Any], dim: int) -> str:
    words = (
        f"the versions differ by a rotation: turning the new rows takes the relative error "
        f"from {hint['residual_before']:.3g} to {hint['residual_after']:.3g} on "
        f"{hint['held_out_rows']} rows it was not fitted on, and {hint['flips_after']:.1%} of "
        "their answers then differ; as they are, new rows are incompatible with an old index: "
        "re-embed the candidates, or turn the rows"
    )
    if hint["underdetermined"]:
        words += (
            f" ({hint['fit_rows']} fitted rows cannot tell a rotation of {dim} dimensions in full; "
            "more rows would leave less)"
        )
    return words
