"""How far queries lie outside the rows that an index was built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.arrays import EPS64, row_norms
from isthmus.core.checks import in_range
from isthmus.data.moments import Moments
from isthmus.errors import ShapeError
from isthmus.perturb.codecs.stores import library, one_thread, single
from isthmus.search.task import RetrievalTask

QUANTILE = 0.99
BLOCK = 4096


def shrunk_spectrum(moments: Moments) -> tuple[np.ndarray, np.ndarray, float]:
    """Covariance shrunk to a multiple of the identity: eigenvalues (d,), vectors, and the share.

    (1 - ρ) Σ + ρ tr(Σ)/d I with the share ρ of the oracle-approximating shrinkage (Chen, Wiesel,
    Eldar and Hero 2010, arXiv 0907.4698; without their 2/d, as scikit-learn's ``OAS``). With fewer
    rows than dimensions Σ alone has no inverse.

    Raises:
        ShapeError: fewer than 2 rows, or rows that are all alike.
    """
    values, vectors = moments.spectrum
    dim = moments.dim
    mean = values.sum() / dim
    if moments.count < 2 or mean <= EPS64:
        raise ShapeError(
            "no-gaussian-fit",
            f"{moments.count} rows of variance {values.sum():.3g} have no Gaussian fit; "
            "give 2 or more different rows",
        )
    square = (values**2).sum() / dim**2  # mean squared entry of the covariance
    apart = (moments.count + 1) * (square - mean**2 / dim)
    share = 1.0 if apart <= 0 else min(float((square + mean**2) / apart), 1.0)
    return (1 - share) * values + share * mean, vectors, share


def mahalanobis(rows: np.ndarray, moments: Moments) -> np.ndarray:
    """Mahalanobis distance of rows (n, d) to the Gaussian fit of other rows, (n,), not squared.

    The covariance is :func:`shrunk_spectrum`'s. O(d³ + n d²), in blocks. OOD-DiskANN
    (arXiv 2211.12850) and RoarGraph (arXiv 2408.08933) tell cross-modal queries by it.

    Raises:
        ShapeError: other dimensions, or no Gaussian fit.
    """
    if rows.ndim != 2 or rows.shape[1] != moments.dim:
        raise ShapeError(
            "unequal-dimensions", f"rows have shape {rows.shape}; expected (n, {moments.dim})"
        )
    values, vectors, _ = shrunk_spectrum(moments)
    whiten = vectors / np.sqrt(values)
    blocks = [
        row_norms((rows[start : start + BLOCK].astype(np.float64) - moments.mean) @ whiten)
        for start in range(0, len(rows), BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0)


def nearest_centroid(
    rows: Mapping[str, np.ndarray], stored: np.ndarray, *, lists: int | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Euclidean distance of rows, by name, to the nearest k-means centroid of the stored rows.

    Args:
        rows: (n, d) each. stored: (K, d). lists: centroids, by default the square root of K.

    Raises:
        OptionError: fewer than 1 centroid or more than rows.
    """
    count = len(stored)
    lists = round(count**0.5) if lists is None else lists
    in_range(lists, "centroids", "too-many-lists", least=1, most=count)
    faiss = library()
    means = faiss.Kmeans(stored.shape[1], lists, seed=seed, min_points_per_centroid=1)
    with one_thread():
        means.train(single(stored))
        return {
            name: np.sqrt(np.maximum(means.assign(single(some))[0], 0)).astype(np.float64)
            for name, some in rows.items()
        }


def query_shift(
    task: RetrievalTask,
    own: np.ndarray,
    closers: Mapping[str, Closer],
    *,
    quantile: float = QUANTILE,
    lists: int | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Are the queries out of the index's distribution, before and after closing?

    Measured where the store compares: queries after the closer's query map, stored rows and the
    control after its candidate map. The candidate bias is left out: a query's weight on it is one
    constant. A store of inner products does not see the length of a query, but these distances do,
    so closers that shorten queries (no renormalising) are judged by a stricter measure than search.

    Args:
        task: queries (n, d) of the other modality; candidates (K, d) are stored. own: (m, d) rows
            of the stored modality that are not stored, the control. closers: by name.

    Returns:
        One dict per closer and ``queries`` (``other``, ``own``): ``mahalanobis`` (median),
        ``mahalanobis_ratio`` (over that of ``own``), ``beyond`` (share farther than the
        ``quantile`` of the held-out rows), ``centroid`` (mean distance to the nearest of ``lists``
        centroids), ``centroid_ratio`` (over that of ``own``), ``shrinkage`` (ρ of the Gaussian
        fit), ``asked``, ``stored``. ``own`` itself has about 1 - quantile beyond, by construction.

    Cost: O(K d² + d³ + (n + m) d²) a closer; the mapped rows are held.

    Raises:
        OptionError: a quantile outside 0 to 1. ShapeError: stored rows without a Gaussian fit.
    """
    in_range(quantile, "quantile", "not-a-share", above=0, below=1)
    out: list[dict[str, Any]] = []
    for name, closer in closers.items():
        stored = np.asarray(closer.candidate(task.candidates))
        asked = {
            "other": np.asarray(closer.query(task.queries)),
            "own": np.asarray(closer.candidate(own)),
        }
        moments = Moments.of(stored, precise=True)
        far = {who: mahalanobis(rows, moments) for who, rows in asked.items()}
        near = nearest_centroid(asked, stored, lists=lists, seed=seed)
        limit = float(np.quantile(far["own"], quantile))
        rho = shrunk_spectrum(moments)[2]
        out += [
            {
                "closer": name,
                "queries": who,
                "mahalanobis": float(np.median(far[who])),
                "mahalanobis_ratio": float(np.median(far[who]) / np.median(far["own"])),
                "beyond": float((far[who] > limit).mean()),
                "centroid": float(near[who].mean()),
                "centroid_ratio": float(near[who].mean() / near["own"].mean()),
                "shrinkage": rho,
                "asked": len(asked[who]),
                "stored": len(stored),
            }
            for who in asked
        ]
    return out
