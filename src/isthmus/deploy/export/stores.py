"""The candidate bias as extra coordinates, for stores that know one score and nothing to add to it.

Every ranking of a closer has the form ⟨q', x'_j⟩ + n_j (``docs/export.md``). One more coordinate
carries n_j in an inner-product store; a second one evens the lengths for a cosine store; a
Euclidean store needs one that makes up for n_j and the lengths at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isthmus.closers.closer import Closer, Guarantee, Role
from isthmus.closers.maps import AffineMap, chain
from isthmus.core.arrays import Array, like, namespace, to_numpy, working
from isthmus.core.checks import at_least, one_of
from isthmus.errors import CloserError, ShapeError, ValuesError

HEADROOM = 0.02


def as_inner_product(closer: Closer, candidates: Array) -> Closer:
    """The same ranking by inner product alone: a closer of score dot without candidate bias.

    Candidates get one coordinate, queries the constant c:

        ⟨(q', c), (x', low + (n - n_min)/c)⟩ = ⟨q', x'⟩ + n + a constant of the query

    with c chosen so that the coordinate runs over [low, high], the range of all others on the
    ``candidates`` given: a shared quantiser then loses next to nothing, and an error δ in the
    coordinate moves a score by no more than cδ. The maps stay affine (one row is appended to the
    matrix), so every form of this package carries them. ``facts`` holds c and low. Candidates to
    come keep their answers too; only the range is not promised for them.

    Args:
        closer: dot, with or without candidate bias; cosine without; euclidean of unit rows that are
            translated at most (there -½‖x + b‖² is -⟨b, x⟩ and a constant).
        candidates: (K, d) rows before the map, a sample is enough.

    Precision: float64 numbers; rows come out in float32 (float64 for float64 rows), where a score
    is off by at most :func:`rounding_bound`: about (d + 3)·6e-8 ‖q'‖‖x'‖, and 5e-4 ‖q'‖‖x'‖ where
    the candidates are stored as float16.

    Cost: O(K d r); the maps are matrices afterwards, O(n d r) where a translation was O(n d).

    Raises:
        CloserError: the bias is no linear function of the row (see above).
    """
    weights, flat = _linear(closer)
    if weights is None:
        return flat
    side = flat.candidate
    if not isinstance(side, AffineMap) or side.renormalised:
        raise CloserError(
            "bias-not-linear",
            f"{closer.name} normalises candidates after moving them, and their bias is no linear "
            "function of what comes out; store it as a column of its own",
        )
    rows = working(candidates, double=True)
    moved = to_numpy(side(rows))
    if len(moved) == 0:
        raise ShapeError(
            "too-few-rows", "no candidates were given; expected some rows, to choose the range from"
        )
    biases = replace(flat, bias_weights=weights).candidate_bias(rows)
    low, high = float(moved.min()), float(moved.max())
    c = float(np.ptp(biases)) / (high - low) if high > low else 0.0
    c = c or 1.0
    kept = np.eye(side.dim) if side.matrix is None else side.matrix
    offset = np.zeros(side.dim_out) if side.offset is None else side.offset
    longer = AffineMap(
        side.dim,
        np.vstack([kept, weights / c]),
        np.append(offset, low - float(biases.min()) / c),
        side.normalised,
    )
    wide = flat.query.dim_out
    constant = AffineMap(
        wide, np.vstack([np.eye(wide), np.zeros(wide)]), np.append(np.zeros(wide), c)
    )
    return replace(
        flat,
        name=f"{closer.name}+coordinate",
        query=chain(flat.query, constant),
        candidate=longer,
        bias_weights=None,
        facts={**closer.other_facts, "c": c, "low": low},
        memo=closer.memo + 1 if closer.memo else 0,
    )


def _linear(closer: Closer) -> tuple[np.ndarray | None, Closer]:
    """Weights w with ranking = ⟨q', x'⟩ + ⟨w, x⟩ + constants, and the closer under dot without."""
    side, bias = closer.candidate, closer.bias_weights
    plain = replace(closer, score="dot", guarantee=_under_dot(closer))
    if bias is not None and not bias.any():
        bias, plain = None, replace(plain, bias_weights=None)
    if closer.score == "dot" or (side.renormalised and bias is None):
        return bias, plain
    if closer.score == "cosine":
        if bias is None:  # candidates of length 1: cosine and dot rank alike
            again = AffineMap(side.dim_out, renormalised=True)
            kept = side if side.normalised and side.is_identity else chain(side, again)
            return None, replace(plain, candidate=kept)
        raise CloserError(
            "bias-not-linear",
            f"{closer.name} is searched by cosine and has a candidate bias, which no inner product "
            "ranks; fit it for the dot score of unit rows",
        )
    translated = isinstance(side, AffineMap) and side.matrix is None and not side.renormalised
    if not translated or not side.normalised:
        raise CloserError(
            "bias-not-linear",
            f"{closer.name} is searched by euclidean distance among candidates of unequal length, "
            "which is no linear function of the row; use as_euclidean, or fit it with "
            "normalised=True and no matrix on the candidates",
        )
    offset = side.offset if isinstance(side, AffineMap) else None
    if offset is None or not offset.any():
        return bias, plain
    return (-offset if bias is None else bias - offset), plain


def _under_dot(closer: Closer) -> Guarantee:
    """What is promised once the same answers are found by inner product."""
    promised, score = closer.guarantee, closer.score
    if score == "dot":
        return promised
    # of unit candidates all scores rank alike; -½‖q - x‖² and ⟨q, x⟩ even by the same margins
    if closer.candidate.normalised and (score == "euclidean" or promised.kind != "bounded"):
        return replace(promised, score="dot")
    return Guarantee("dot", "none", f"answers are those of {score}: {promised.condition}")


@dataclass(frozen=True, eq=False)
class Evened:
    """A closer and one last coordinate per candidate, which is 0 on queries.

    Candidates get e = √(limit - s‖z‖² - 2n), z and n being the closer's row and candidate bias and
    s = 1, or 0 where the closer itself is euclidean. Built by :func:`as_cosine` and
    :func:`as_euclidean`; search with ``score`` and add nothing.

    Attributes:
        closer: the maps before the last coordinate.
        score: cosine or euclidean: what the store ranks by.
        limit: at least s‖z‖² + 2n of any candidate.
    """

    closer: Closer
    score: str
    limit: float

    @property
    def squares(self) -> bool:
        """Whether the lengths of rows count: not where the closer is euclidean itself."""
        return self.closer.score != "euclidean"

    @property
    def name(self) -> str:
        """The closer's name, and what was done."""
        return f"{self.closer.name}+evened"

    @property
    def dim_out(self) -> int:
        """Dimensions of what comes out."""
        return self.closer.candidate.dim_out + 1

    def apply(self, rows: Array, role: Role) -> Array:
        """Map rows (n, d) of one role -> (n, r + 1), computed in float64, in the rows' dtype.

        Raises:
            ValuesError: a candidate exceeds the limit; build it again with these rows among the
                candidates, or with more headroom.
        """
        moved = self.closer.apply(working(rows, double=True), role)
        xp = namespace(moved)
        if role == "query":
            last = xp.zeros_like(moved[:, :1])
        else:
            last = like(moved, self._last(moved, rows))[:, None]
        return xp.astype(xp.concat([moved, last], axis=1), working(rows).dtype)

    def _last(self, moved: Array, rows: Array) -> np.ndarray:
        square = self.limit - _used(self.closer, to_numpy(moved), rows, self.squares)
        over = np.flatnonzero(square < -1e-9 * abs(self.limit))
        if len(over):
            raise ValuesError(
                "beyond-limit",
                f"{len(over)} of {len(square)} candidates (first: row {over[0]}) exceed the limit "
                f"{self.limit:g}; build the coordinate again with them, or with more headroom",
            )
        return np.sqrt(np.maximum(square, 0.0))


def as_cosine(closer: Closer, candidates: Array, *, headroom: float = HEADROOM) -> Evened:
    """The same ranking for a store that knows only cosine: two more coordinates.

    The coordinate of :func:`as_inner_product`, then e = √(M² - ‖x'‖²), which makes all candidates
    M long, so that cosine is the inner product over one constant of the query (Bachrach et al.
    2014). e is no affine function of the row: torch and ONNX carry it, built-in modules of
    sentence-transformers do not.

    Args:
        headroom: M² is larger than the longest candidate's square by this share. It keeps e away
            from 0, where float32 would lose its digits, and is kept for candidates to come.

    Precision: as :func:`as_inner_product`, with M for the candidate's length.

    Raises:
        CloserError: it is searched by cosine as it is, or :func:`as_inner_product` refuses.
        OptionError: a negative headroom.
    """
    if closer.score == "cosine" and closer.bias_weights is None:
        raise CloserError(
            "no-bias",
            f"{closer.name} is searched by cosine, without candidate bias; use it as it is",
        )
    return _evened(as_inner_product(closer, candidates), "cosine", candidates, headroom)


def as_euclidean(closer: Closer, candidates: Array, *, headroom: float = HEADROOM) -> Evened:
    """The same ranking for a store that knows only Euclidean distance: one more coordinate.

    ‖(q', 0) - (x', e)‖² = ‖q'‖² - 2(⟨q', x'⟩ + n) + constant with e = √(L - ‖x'‖² - 2n); for a
    closer that is searched by distance itself e = √(L - 2n). L is the largest of what is
    subtracted over ``candidates``, and ``headroom`` of the largest ‖x'‖² more (see
    :func:`as_cosine`).

    Precision: an error δ in e moves -½ distance² by eδ. Relative rounding u of the rows moves it
    by at most u(‖q'‖² + L) or so: distances lose more digits than inner products.

    Raises:
        CloserError: it is searched by distance as it is, or by cosine with a candidate bias.
        OptionError: a negative headroom.
    """
    if closer.score == "euclidean" and closer.bias_weights is None:
        raise CloserError(
            "no-bias",
            f"{closer.name} is searched by distance, without candidate bias; use it as it is",
        )
    if closer.score == "cosine":
        closer = as_inner_product(closer, candidates)
    return _evened(closer, "euclidean", candidates, headroom)


def _evened(closer: Closer, score: str, candidates: Array, headroom: float) -> Evened:
    at_least(headroom, 0, "headroom")
    moved = to_numpy(closer.apply(working(candidates, double=True), "candidate"))
    used = _used(closer, moved, candidates, closer.score != "euclidean")
    longest = float(np.einsum("ij,ij->i", moved, moved).max())
    return Evened(closer, score, float(used.max()) + headroom * longest)


def _used(closer: Closer, moved: np.ndarray, rows: Array, squares: bool) -> np.ndarray:
    """s‖z‖² + 2n of each candidate, (K,) float64."""
    used = 2 * closer.candidate_bias(rows)
    return used + np.einsum("ij,ij->i", moved, moved) if squares else used


def rounding_bound(queries: Array, candidates: Array, dtype: str = "float32") -> np.ndarray:
    """The most that an inner product moves by storing candidates in ``dtype``: (n,) per query.

    ‖q‖·max‖x‖·(u + (d + 2)·2⁻²⁴) + ‖q‖₁·tiny: u is 2⁻²⁴ for float32 and 2⁻¹¹ for float16, queries
    and sums are float32, and ``tiny`` is half the smallest number of the dtype. Answers whose
    margin exceeds twice the bound cannot change. Rows are those that come out of the maps.

    Raises:
        OptionError: another dtype.
    """
    one_of(dtype, ("float32", "float16"), "dtype")
    q, x = (to_numpy(working(rows, double=True)) for rows in (queries, candidates))
    limits = np.finfo(dtype)
    longest = float(np.linalg.norm(x, axis=1).max())
    share = float(limits.eps) / 2 + (x.shape[1] + 2) * 2.0**-24
    tiny = float(limits.smallest_subnormal) / 2
    return np.linalg.norm(q, axis=1) * longest * share + np.abs(q).sum(axis=1) * tiny
