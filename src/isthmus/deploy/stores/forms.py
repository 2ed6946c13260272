"""Which form of a closer a store can search, in the order of what it costs.

1. ``query map``: only queries are moved, and nothing is stored anew;
2. ``moved rows``: candidates are moved, and there is no bias;
3. ``bias expression``: the store adds a stored bias to the score of every candidate;
4. ``one coordinate`` (inner product, Euclidean) or ``two coordinates`` (cosine): the bias is part
   of the vector (``docs/export.md``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.arrays import to_numpy, unit, working
from isthmus.deploy.export.closer_json import to_json
from isthmus.deploy.export.stores import Evened, as_cosine, as_euclidean, as_inner_product
from isthmus.deploy.stores.store import StoreFacts
from isthmus.errors import CloserError

UNIT = 1e-4
"""Rows count as unit rows where no norm is further from 1: float16 rounds them by about this."""
NEARLY_UNIT = 0.01
"""Norms so near 1 cost a closer of normalised rows few answers: a trial counts them."""


@dataclass(frozen=True, eq=False)
class Form:
    """A closer as one store searches it.

    Attributes:
        name: see the module. why: one sentence. score: what the store is asked to rank by.
        closer: the maps. padding: coordinates of zero at the end of both.
        biased: whether a bias is stored beside the vector.
        warning: what to know of the rows before it is used; empty for nothing.
        other_side: that the rows are the closer's queries; empty where they are not.
    """

    name: str
    why: str
    score: str
    closer: Closer | Evened
    padding: int = 0
    biased: bool = False
    warning: str = ""
    other_side: str = ""

    @property
    def dim(self) -> int:
        """Dimensions of a stored vector."""
        wide = (
            self.closer.dim_out
            if isinstance(self.closer, Evened)
            else (self.closer.candidate.dim_out)
        )
        return wide + self.padding

    @property
    def said(self) -> str:
        """All that is to be known of the rows; empty for nothing."""
        return "; ".join(text for text in (self.other_side, self.warning) if text)

    @property
    def stores_nothing(self) -> bool:
        """Whether candidates stay where they are, as they are."""
        return self.name == "query map"

    def asked(self, queries: np.ndarray) -> np.ndarray:
        """Queries (n, d) -> (n, dim) as the store is asked, float32."""
        return self._padded(to_numpy(self.closer.apply(working(queries, double=True), "query")))

    def stored(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Candidates (K, d) -> (K, dim) as they are stored, and their biases (K,) or None."""
        rows = working(candidates, double=True)
        moved = self._padded(to_numpy(self.closer.apply(rows, "candidate")))
        if not self.biased or isinstance(self.closer, Evened):
            return moved, None
        return moved, self.closer.candidate_bias(rows)

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        return np.pad(rows, ((0, 0), (0, self.padding))).astype(np.float32)

    def to_json(self) -> str:
        """The maps as plain numbers."""
        return to_json(self.closer)


def choose_form(closer: Closer, facts: StoreFacts, candidates: np.ndarray) -> Form:
    """The form for a store, and why.

    Args:
        closer: fitted for candidates of this space. facts: what the store says of their column.
        candidates: (K, d) rows that are in it, all of them or, for an inner product, a sample.

    Raises:
        CloserError: no form of this closer gives its ranking in such a store.
    """
    score = facts.score or closer.score
    norms = np.linalg.norm(np.asarray(candidates, np.float64), axis=1)
    even = bool(np.abs(norms - 1).max() <= UNIT)
    by_direction = closer.candidate.normalised and score == "cosine"  # lengths count in neither
    nearly = closer.candidate.normalised and bool(np.abs(norms - 1).max() <= NEARLY_UNIT)
    other_side = _other_side(closer, candidates)
    if score != closer.score and not (even or by_direction or nearly):
        if other_side:  # a store of unit rows would not do either
            raise CloserError("other-side", other_side)
        unit_rows = "fit the closer on normalised rows (isthmus close without --raw), or "
        raise CloserError(
            "scores-differ",
            f"{closer.name} is searched by {closer.score} and the store ranks by {score}; these "
            f"agree among unit rows alone, and {norms_shown(norms)}: "
            + unit_rows * (score == "cosine")
            + "store unit rows",
        )
    form = replace(_form_of(closer, facts, candidates, score, even), other_side=other_side)
    if closer.candidate.normalised and not even and not by_direction:
        undo = "add score=cosine to the address (after --undo, where it is deployed already)"
        way = "store unit rows" if facts.score else undo
        warning = (
            f"{norms_shown(norms)}, so the store's own ranking by {score} is not that of "
            f"normalised rows, for which {closer.name} was fitted and which the closed vectors "
            f"give: {way}, or fit the closer with --raw"
        )
        form = replace(form, warning=warning)
    over = form.dim % facts.multiple
    if over and not form.stores_nothing:
        why = f"{form.why}; padded to a multiple of {facts.multiple}, which the store's codec needs"
        form = replace(form, why=why, padding=facts.multiple - over)
    return form


def uneven(candidates: np.ndarray, score: str) -> str:
    """What closers of normalised rows do to a store's rows (K, d) whose lengths count in its score;
    empty where they are unit rows, or lengths do not count."""
    norms = np.linalg.norm(np.asarray(candidates, np.float64), axis=1)
    if score == "cosine" or np.abs(norms - 1).max() <= UNIT:
        return ""
    return (
        f"{norms_shown(norms)}; closers rank as normalised rows do, and that alone may change some "
        f"answers of a store that ranks by {score}: store unit rows"
    )


def norms_shown(norms: np.ndarray) -> str:
    """Norms (K,) of rows in digits that tell them from 1."""
    return (
        f"norms in the store run from {norms.min():.6g} to {norms.max():.6g} "
        f"(up to {np.abs(norms - 1).max():.2g} from 1)"
    )


def _other_side(closer: Closer, candidates: np.ndarray) -> str:
    """That rows are where the closer's queries were; empty where they are not, or none can tell.

    Their mean along a vector of the closer is compared with those of both sides of the fit, which
    are in its facts. Nothing is said where the sides are less than two deviations apart.
    """
    along, facts = closer.telling, closer.facts
    if along is None or not {"along_queries", "along_candidates"} <= facts.keys():
        return ""
    rows = np.asarray(candidates, np.float64)
    at = (unit(rows) if closer.candidate.normalised else rows) @ along
    theirs, ours = facts["along_queries"], facts["along_candidates"]
    apart = theirs - ours
    if abs(apart) <= 2 * at.std() or (at.mean() - ours) / apart <= 0.5:
        return ""
    return (
        f"rows in the store lie where the queries of {closer.name} were when it was fitted, and "
        f"not where its candidates were (mean {at.mean():.3g} along a vector of the closer; its "
        f"queries had {theirs:.3g}, its candidates {ours:.3g}): fit it the other way round, with "
        "the rows of this store as candidates"
    )


def _form_of(
    closer: Closer, facts: StoreFacts, candidates: np.ndarray, score: str, even: bool
) -> Form:
    side, biased = closer.candidate, closer.bias_weights is not None
    if biased and facts.codec == "binary":
        why = "the store compares signs alone, and nothing can be added to them: no bias is kept"
        return Form("moved rows", why, score, replace(closer, bias_weights=None))
    if not biased:
        alike = score == closer.score or (
            side.is_identity and (even or (side.normalised and score == "cosine"))
        )
        if side.is_identity and alike and (even or not side.normalised or score == "cosine"):
            why = "this closer moves queries alone, so candidates stay as they are"
            return Form("query map", why, score, closer)
        if score == closer.score:
            return Form("moved rows", "candidates are moved and need no bias", score, closer)
    elif facts.expression and facts.index == "none" and score == closer.score:
        why = (
            "the store adds the bias to the score of every candidate, since no index stands "
            "between; it is kept in full precision"
        )
        return Form("bias expression", why, score, closer, biased=True)
    if score == "dot":
        why = "the store ranks by inner product, and one coordinate carries the bias"
        return Form("one coordinate", why, score, as_inner_product(closer, candidates))
    if score == "cosine":
        why = "the store ranks by cosine: one coordinate carries the bias, one evens the lengths"
        return Form("two coordinates", why, score, as_cosine(closer, candidates))
    if score == "euclidean":
        why = "the store ranks by distance, and one coordinate carries bias and lengths"
        return Form("one coordinate", why, score, as_euclidean(closer, candidates))
    raise CloserError(
        "no-form", f"{closer.name} is searched by {closer.score}; the store ranks by {score}"
    )
