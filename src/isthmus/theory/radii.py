"""Certified radii: how far rows may move, in the worst case, before an answer changes.

Every radius is exact: some move of ``radius`` (1 + any) changes the answer, none of less does, and
:mod:`isthmus.perturb.worst_case` makes that move. Lengths are in the units of the rows as they are
searched; norms are ``l2`` (Euclidean) and ``linf`` (largest coordinate). m_j is the margin to rival
j, Δ_j = x_j - x_1, u_j = q - x_j, β_j a candidate bias. Derivations: ``docs/formulas.md``.

Every function takes ``items`` (K,), the lowest row of each row's item: rivals are then rows of
other items, and the radius is a lower bound where the winner's item has several rows. None: every
row is an item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.checks import one_of
from isthmus.errors import OptionError
from isthmus.search.scores import Ranking
from isthmus.search.shared import Moved, Product
from isthmus.theory.hyperbola import nearest_on_branch
from isthmus.theory.leading import LEADING, Leading, carried, leading_radii
from isthmus.theory.rows import CleanRows, check_noise

NORMS = ("l2", "linf")
HALVINGS = 80


def query_radius(
    ranking: Ranking, norm: str = "l2", *, items: np.ndarray | None = None
) -> np.ndarray:
    """Smallest ‖e‖ of a query that changes its answer, (n,): min_j m_j / ‖Δ_j‖ in the dual norm.

    For dot, Euclidean and cosine (there with candidates over their norms), biases included. The
    dual norm is ‖Δ_j‖_2 for ``l2`` and ‖Δ_j‖_1 for ``linf``. The gap does not enter. inf where no
    move helps: one candidate, or all exact twins of the answer. O(n K d).

    Raises:
        OptionError: another norm.
    """
    one_of(norm, NORMS, "norm")
    clean = CleanRows.of(ranking, items)
    leading = Leading.of(clean, ranking) if norm == "l2" else None
    if leading is not None:
        return leading_radii([leading], "query")[0][0][0]
    parts = []
    for _, margins, first in clean.blocks():
        reach = _between(clean.candidates, first, norm)
        parts.append(_least(margins, reach, first))
    return np.concatenate(parts)


def query_angle(ranking: Ranking, *, items: np.ndarray | None = None) -> np.ndarray:
    """Smallest rotation of a query, in radians, that changes its answer, (n,).

    The query stays on its sphere, of radius ‖q‖: min_j (φ_j - arccos(b_j / (‖q‖‖Δ_j‖))), φ_j the
    angle from q to Δ_j and b_j = m_j + ⟨q, Δ_j⟩. Unit candidates without biases have b_j = 0,
    and this is arcsin(min_j m_j / (‖q‖‖Δ_j‖)). The chord is 2‖q‖ sin(angle / 2). inf where no
    rotation helps. O(n K d).
    """
    clean = CleanRows.of(ranking, items)
    size = np.linalg.norm(clean.queries, axis=1)
    parts = []
    for part, margins, first in clean.blocks():
        reach = _between(clean.candidates, first, "l2") * size[part][:, None]
        scores = clean.queries[part] @ clean.candidates.T
        along = scores - np.take_along_axis(scores, first[:, None], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            goal = (margins + along) / reach
            angle = np.arccos(np.clip(along / reach, -1, 1)) - np.arccos(np.clip(goal, -1, 1))
        angle[~(np.abs(goal) <= 1)] = np.inf  # the plane of the tie misses the sphere
        angle[np.arange(len(first)), first] = np.inf
        parts.append(np.maximum(angle, 0.0).min(axis=1))
    return np.concatenate(parts)


def candidate_radius(
    ranking: Ranking, norm: str = "l2", *, items: np.ndarray | None = None
) -> np.ndarray:
    """Largest r such that no candidates, each moved by less than r, change the answer, (n,).

    Euclidean, ``l2``: min_j m_j / (‖u_1‖ + ‖u_j‖), which without candidate biases is
    ½ min_j (‖u_j‖ - ‖u_1‖); with them a rival may get to the query and stop there (``carried``).
    Euclidean, ``linf``: the root of Σ(|u_1i| + r)² - 2β_1 = Σ(|u_ji| - r)₊² - 2β_j, by bisection to
    rounding. Dot: min_j m_j / (2‖q‖), with ‖q‖_2 or ‖q‖_1.
    O(n K d), ``linf`` about ten times that.

    Raises:
        OptionError: cosine, or another norm.
    """
    _check_quadric(ranking.score, "radius of candidates")
    one_of(norm, NORMS, "norm")
    clean = CleanRows.of(ranking, items)
    if len(clean.candidates) < 2:
        return np.full(len(clean.queries), np.inf)
    leading = Leading.of(clean, ranking) if norm == "l2" else None
    if leading is not None:
        return leading_radii([leading], "candidate")[0][0][0]
    if clean.score == "euclidean" and norm == "linf":
        return np.array([_bisected(clean, i) for i in range(len(clean.queries))])
    sizes = np.linalg.norm(clean.queries, ord=2 if norm == "l2" else 1, axis=1)
    parts = []
    for part, margins, first in clean.blocks():
        if clean.score == "euclidean":
            far = np.sqrt(clean.squares(part, clean.queries.shape[1]))
            own = np.take_along_axis(far, first[:, None], axis=1)
            radius = carried(margins, own, far, clean.bias[first][:, None] - clean.bias)
            radius[np.isinf(margins)] = np.inf  # no rivals
            radius[np.arange(len(first)), first] = np.inf
            parts.append(radius.min(axis=1))
        else:
            reach = np.broadcast_to(2 * sizes[part][:, None], margins.shape)
            parts.append(_least(margins, reach, first))
    return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class Joint:
    """``radius`` (n,) of the query, the ``rival`` (n,) that is met first, and the unit
    ``direction`` (n, d) in which (zeros where the radius is 0 or inf)."""

    radius: np.ndarray
    rival: np.ndarray
    direction: np.ndarray


def joint_radius(
    ranking: Ranking, candidate_move: float, *, items: np.ndarray | None = None
) -> Joint:
    """Smallest L2 move of the query that changes its answer once each candidate may move by
    ``candidate_move`` = r in L2 too.

    Euclidean: the distance from q to the hyperboloid ‖z - x_j‖ - ‖z - x_1‖ = 2r (foci x_1 and x_j,
    a = r, c = ½‖Δ_j‖). Dot: to the cone or hyperboloid 2r‖z‖ = b_j - ⟨z, Δ_j⟩, b_j = β_1 - β_j. 0
    where r alone suffices, and where 2r >= ‖Δ_j‖ (exact under Euclidean; sound, but not tight,
    under dot with candidate biases). r = 0 gives :func:`query_radius`. O(n K (d + 80)).

    Raises:
        OptionError: cosine, a negative r, or candidate biases under Euclidean (the surface is no
            quadric then).
    """
    _check_quadric(ranking.score, "joint radius")
    check_noise(candidate_move, "candidate_move")
    clean = CleanRows.of(ranking, items)
    if clean.score == "euclidean" and clean.bias.any():
        raise OptionError(
            "no-formula", "there is no joint radius with candidate biases under euclidean; use dot"
        )
    found = [
        _joint(clean, part, margins, first, candidate_move)
        for part, margins, first in clean.blocks()
    ]
    return Joint(*(np.concatenate(column) for column in zip(*found, strict=True)))


@dataclass(frozen=True, eq=False)
class Certified:
    """L2 radii of moves of the ``query`` and of the candidates (``candidate``), (n,) each.

    ``share``: of queries for which the leading rivals, at most 32 of them, were certified to set
    both radii; of the others more rivals were looked at.
    """

    query: np.ndarray
    candidate: np.ndarray
    share: float


def certified_radii(
    *searches: tuple[Ranking, np.ndarray | None, Moved | None],
    product: Product | None = None,
    items: np.ndarray | None = None,
) -> list[Certified]:
    """:func:`query_radius` and :func:`candidate_radius` in L2 of some searches, and how they were
    found.

    Args:
        searches: of the same queries and candidates as different closers map them: each its
            ranking, its answers (n,) where they are known, and how its scores come from the
            ``product`` of the rows before any map, where they do.

    Raises:
        OptionError: cosine.
    """
    leaders: list[Leading | None] = []
    for ranking, winner, moved in searches:
        _check_quadric(ranking.score, "radius of candidates")
        shared = None if moved is None or product is None else (product, moved)
        leaders.append(Leading.of(CleanRows.of(ranking, items, winner), ranking, shared))
    found: dict[int, Certified] = {}
    # distances between candidates do not change where all move alike
    alike = [
        i for i, (_, _, moved) in enumerate(searches) if moved is not None and moved.length is None
    ]
    for group in (alike, *([i] for i in range(len(searches)) if i not in alike)):
        mine = {i: one for i in group if (one := leaders[i]) is not None}
        radii = leading_radii(list(mine.values()), "query", "candidate") if mine else []
        for i, ((query, listed), (candidate, more)) in zip(mine, radii, strict=True):
            certain = np.maximum(listed, more) <= LEADING
            found[i] = Certified(query, candidate, float(certain.mean()))
    for i, (ranking, _, _) in enumerate(searches):
        if i not in found:
            both = query_radius(ranking, items=items), candidate_radius(ranking, items=items)
            found[i] = Certified(*both, 0.0)
    return [found[i] for i in range(len(searches))]


def smoothing_radius(first: np.ndarray, second: np.ndarray, sigma: float) -> np.ndarray:
    """½σ(Φ⁻¹(p_1) - Φ⁻¹(p_2)): L2 radius of the query for the *smoothed* search, at least 0.

    The smoothed search answers with what is most often found under query noise N(0, σ² I). With two
    candidates p_1 = Φ(m / (σ‖Δ‖)) and the radius is m / ‖Δ‖, that of plain search, for every σ.

    Args:
        first, second: chances of the most and of the second most frequent answer, (n,). sigma: σ of
            one coordinate.

    Raises:
        OptionError: σ is not positive, or a chance is outside [0, 1].

    Source: Cohen, Rosenfeld and Kolter 2019, Theorem 1.
    """
    from scipy.special import ndtri

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if not (np.isfinite(sigma) and sigma > 0):
        raise OptionError("bad-sigma", f"sigma={sigma}; expected a positive number")
    if not all(((p >= 0) & (p <= 1)).all() for p in (first, second)):
        raise OptionError(
            "bad-probability", "a probability lies outside 0 to 1; give shares of the draws"
        )
    return np.asarray(np.where(first > second, 0.5 * sigma * (ndtri(first) - ndtri(second)), 0.0))


def smoothing_certificate(
    hits: np.ndarray, draws: int, sigma: float, confidence: float = 0.999
) -> np.ndarray:
    """σ Φ⁻¹(p̲): radius of the smoothed search that holds with ``confidence``, each query by itself.

    Args:
        hits: (n,) how many of ``draws`` gave the answer, which was chosen on *other* draws.

    p̲ is Clopper and Pearson's lower bound; 0 where it does not exceed ½ (Cohen, Rosenfeld and
    Kolter 2019, CERTIFY).

    Raises:
        OptionError: hits outside 0 to draws, or as :func:`smoothing_radius`.
    """
    from scipy.special import betaincinv

    hits = np.asarray(hits, np.float64)
    if not ((hits >= 0) & (hits <= draws)).all():
        raise OptionError("bad-counts", f"hits lie outside 0 to draws={draws}")
    some = np.maximum(hits, 1)
    least = np.where(hits > 0, betaincinv(some, draws - some + 1, 1 - confidence), 0.0)
    return smoothing_radius(least, 1 - least, sigma)


def _check_quadric(score: str, what: str) -> None:
    if score == "cosine":
        raise OptionError(
            "no-formula",
            f"there is no {what} under cosine; among unit rows, state the search under dot "
            "(Ranking.under)",
        )


def _between(candidates: np.ndarray, first: np.ndarray, norm: str) -> np.ndarray:
    """‖x_j - x_1‖ of each query's rivals, (b, K); 0 for what rounding cannot tell from a twin."""
    from scipy.spatial.distance import cdist

    if norm == "linf":
        return np.asarray(cdist(candidates[first], candidates, "cityblock"))
    squares = np.einsum("ij,ij->i", candidates, candidates)
    both = squares[first][:, None] + squares[None, :]
    between = both - 2 * candidates[first] @ candidates.T
    noise = 64 * np.finfo(np.float64).eps * both
    return np.sqrt(np.where(between > noise, between, 0.0))


def _least(margins: np.ndarray, reach: np.ndarray, first: np.ndarray) -> np.ndarray:
    """min over rivals of margin / reach; a reach of 0 never gets there."""
    radius = np.divide(margins, reach, out=np.full(margins.shape, np.inf), where=reach > 0)
    radius[np.arange(len(first)), first] = np.inf
    return np.asarray(radius.min(axis=1))


def _bisected(clean: CleanRows, i: int) -> float:
    """Euclidean ``linf`` radius of candidates for one query: the largest r at which every rival
    still loses. Each coordinate of a rival stops at the query's."""
    away = np.abs(clean.queries[i] - clean.candidates)
    own, bias = away[clean.winner[i]], clean.bias[clean.winner[i]] - clean.bias
    rows = np.arange(len(away)) if clean.items is None else clean.items
    alive = np.flatnonzero(rows != rows[clean.winner[i]])
    if not len(alive):
        return float("inf")
    low, high = 0.0, float(away.max()) + float(np.sqrt(2 * np.ptp(clean.bias)))
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        left = np.maximum(away[alive] - middle, 0.0)
        lead = np.einsum("ij,ij->i", left, left) + 2 * bias[alive] - ((own + middle) ** 2).sum()
        over = lead < 0  # a lead falls as r grows
        if over.any():
            high, alive = middle, alive[over]
        else:
            low = middle
        if high - low <= 1e-16 * high:
            break
    return 0.5 * (low + high)


def _joint(
    clean: CleanRows, part: slice, margins: np.ndarray, first: np.ndarray, move: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, q, rows = clean.candidates, clean.queries[part], np.arange(len(first))
    length = _between(x, first, "l2")
    mates = np.isinf(margins)  # rows of the winner's item
    margins = np.where(mates, 0.0, margins)
    # the plane through q and the axis -Δ: p along it from the centre, t across
    if clean.score == "euclidean":
        far = clean.squares(part, x.shape[1])
        p = np.divide(margins, length, out=np.zeros_like(length), where=length > 0)
        middle = 0.5 * (far + far[rows, first][:, None]) - 0.25 * length**2  # ‖q - midpoint‖²
        a = np.full_like(length, move)
        b = np.sqrt(np.maximum(0.25 * length**2 - move**2, 0.0))
        t = np.sqrt(np.maximum(middle - p**2, 0.0))
        rise, run = b, a
        inside = (np.sqrt(far) - np.sqrt(far[rows, first])[:, None]) > 2 * move
    else:
        scores = q @ x.T
        down = scores[rows, first][:, None] - scores  # ⟨q, -Δ⟩
        size = np.einsum("ij,ij->i", q, q)[:, None]
        lift = clean.bias[first][:, None] - clean.bias
        p = np.divide(down, length, out=np.zeros_like(length), where=length > 0)
        t = np.sqrt(np.maximum(size - p**2, 0.0))
        square = np.maximum(length**2 - 4 * move**2, 0.0)
        safe = np.where(square > 0, square, 1.0)
        a, b = 2 * move * np.abs(lift) / safe, np.abs(lift) / np.sqrt(safe)
        p = p + lift * length / safe
        inside = margins > 2 * move * np.sqrt(size)
        rise, run = np.sqrt(safe), np.full_like(length, 2 * move)  # b / a, also where both are 0
    possible = inside & (length > 2 * move) & ~mates
    possible[rows, first] = False
    radius = np.where(length > 0, 0.0, np.inf)
    radius[possible] = 0.0
    foot_p, foot_t = np.zeros_like(p), np.zeros_like(p)
    if move == 0:
        radius = np.divide(margins, length, out=np.full(length.shape, np.inf), where=length > 0)
        foot_p, foot_t = p - radius, t
    else:
        found = nearest_on_branch(*(v[possible] for v in (p, t, a, b, rise, run)))
        foot_p[possible], foot_t[possible] = found
        radius[possible] = np.hypot(foot_p - p, foot_t - t)[possible]
    radius[rows, first] = np.inf
    radius[mates] = np.inf
    rival = radius.argmin(axis=1)
    best = radius[rows, rival]
    direction = _towards(
        clean, part, first, rival, (foot_p - p)[rows, rival], (foot_t - t)[rows, rival]
    )
    direction[~(np.isfinite(best) & (best > 0))] = 0.0
    return best, rival, direction


def _towards(
    clean: CleanRows,
    part: slice,
    first: np.ndarray,
    rival: np.ndarray,
    down: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """Unit direction with components ``down`` along -Δ and ``out`` away from the axis, (b, d)."""
    x, q = clean.candidates, clean.queries[part]
    axis = x[first] - x[rival]
    axis = axis / np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-300)
    centre = 0.5 * (x[first] + x[rival]) if clean.score == "euclidean" else np.zeros_like(q)
    off = q - centre
    off = off - np.einsum("ij,ij->i", off, axis)[:, None] * axis
    off = off / np.maximum(np.linalg.norm(off, axis=1, keepdims=True), 1e-300)
    direction = down[:, None] * axis + out[:, None] * off
    return np.asarray(direction / np.maximum(np.linalg.norm(direction, axis=1)[:, None], 1e-300))
