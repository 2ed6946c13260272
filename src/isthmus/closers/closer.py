"""The frozen record of a closing. Nothing is fitted here.

A :class:`Closer` is a map for queries, a map for candidates and one bias per candidate:

    ranking(q, j) = score(query_map(q), candidate_map(x_j)) + ⟨bias_weights, x_j⟩

The candidate bias (:meth:`Closer.candidate_bias`) makes a closing exact at any number of
candidates; ``x_j`` in it is the candidate as it enters the map (a unit row where the map begins by
normalising). For the euclidean score the ranking quantity is -½‖q - x‖² (see ``scores``), so a
bias is in the same units for all three scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from isthmus.closers.maps import AffineMap, Chain, RowMap, chain
from isthmus.closers.validity import refuse_invalid_rows
from isthmus.core.arrays import Array, like, namespace, to_numpy, unit, working
from isthmus.core.checks import one_of
from isthmus.data import open_rows
from isthmus.data.saved import Parts, SavedRecord
from isthmus.errors import CloserError
from isthmus.search.scores import SCORES

Role = Literal["query", "candidate"]
Kind = Literal["exact", "bounded", "none"]
ROLES: tuple[Role, Role] = ("query", "candidate")
KEYS = {"unit_in": "normalised", "unit_out": "renormalised"}
"""Key of a closer's file -> attribute of a map."""


@dataclass(frozen=True)
class Guarantee:
    """What is promised of the clean ranking: for which score, how firmly, under which condition.

    ``kind``: ``exact`` (no answer changes but for ties and rounding), ``bounded`` (``bound`` says
    by how much a margin may move), ``none``.
    """

    score: str
    kind: Kind
    condition: str
    bound: float | None = None

    @classmethod
    def read(cls, stated: Mapping[str, Any]) -> Guarantee:
        """Back from :meth:`to_dict`; ValueError or TypeError where it is none."""
        parts = Parts.of(stated)
        parts.text("score", *SCORES), parts.text("kind", *get_args(Kind)), parts.text("condition")
        if stated.get("bound") is not None:
            parts.number("bound", 0)
        return cls(**stated)

    def to_dict(self) -> dict[str, Any]:
        """The form of ``report.json``."""
        return {k: v for k, v in asdict(self).items() if v is not None}


@dataclass(frozen=True, eq=False)
class ClosedCandidates:
    """Candidates as they are stored: ``rows`` (K, r), and ``bias`` (K,) to add to their scores."""

    rows: Array
    bias: np.ndarray


def check_role(role: Any) -> Role:
    """The role.

    Raises:
        OptionError: it is neither ``query`` nor ``candidate``.
    """
    one_of(role, ROLES, "role")
    return ROLES[ROLES.index(role)]


@dataclass(frozen=True, eq=False)
class Closer(SavedRecord):
    """A fitted, frozen closing. Build one with ``closers.fit``; it holds no rows.

    Attributes:
        name: the method's name, ``list(isthmus.closers)``.
        score: the score it is to be searched with.
        strength: 0 leaves everything as it is, 1 closes fully.
        query, candidate: the two maps.
        bias_weights: (d,) weights w of the bias ⟨w, x_j⟩ of each candidate, or None.
        memo: how many of the last coordinates that come out are to be kept in float, apart from
            the vector (no codec, no noise); 0 for most closers.
        guarantee: what is promised of the clean ranking.
        facts: named numbers of the fit, for reports (norm moved, rank, share closable …).
    """

    KIND: ClassVar[str] = "closer"
    MADE_BY: ClassVar[str] = "isthmus close"

    name: str
    score: str
    strength: float
    query: RowMap
    candidate: RowMap
    guarantee: Guarantee
    bias_weights: np.ndarray | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    memo: int = 0

    @property
    def telling(self) -> np.ndarray | None:
        """A vector (d,) of its own along which both sides' means are in ``facts``, or None."""
        offsets = (self.map_of(role).steps[0].offset for role in ROLES)
        held = (v for v in (self.bias_weights, *offsets) if v is not None)
        return next((v for v in held if v.shape == (self.query.dim,)), None)

    @property
    def other_facts(self) -> dict[str, float]:
        """Facts without those of ``telling``, for a closer of other maps."""
        return {k: v for k, v in self.facts.items() if not k.startswith("along_")}

    def queries(self, rows: Any) -> Array:
        """Map queries (n, d) -> (n, r), on their device; a path or ``Rows`` is read whole.

        Raises:
            ValuesError: NaN, infinity, or zero rows that the map normalises.
        """
        read = _read(rows)
        refuse_invalid_rows(read, "queries", normalised=self.query.normalised)
        return self.query(read)

    def candidates(self, rows: Any) -> ClosedCandidates:
        """Map candidates (K, d), with their biases; a path or ``Rows`` is read whole.

        Raises:
            ValuesError: NaN, infinity, or zero rows that the map normalises.
        """
        read = _read(rows)
        refuse_invalid_rows(read, "candidates", normalised=self.candidate.normalised)
        return ClosedCandidates(self.candidate(read), self.candidate_bias(read))

    def apply(self, rows: Array, role: Role) -> Array:
        """Map rows (n, d) of one role."""
        return self.map_of(role)(rows)

    def map_of(self, role: Role) -> RowMap:
        """The map of one role.

        Raises:
            OptionError: the role is neither ``query`` nor ``candidate``.
        """
        return self.query if check_role(role) == "query" else self.candidate

    def candidate_bias(self, candidates: Array) -> np.ndarray:
        """The bias of each candidate, (K,) float64, from its rows before the map; zeros if none."""
        rows = working(candidates, double=True)
        return self.entered_bias(unit(rows) if self.candidate.normalised else rows)

    def entered_bias(self, rows: Array) -> np.ndarray:
        """The same from float64 rows that are normalised already where the map begins so."""
        if self.bias_weights is None:
            return np.zeros(int(rows.shape[0]))
        return to_numpy(namespace(rows).matmul(rows, like(rows, self.bias_weights)))

    def to_dict(self) -> dict[str, Any]:
        """What is to be read of it, without its arrays."""
        return {
            "closer": self.name,
            "score": self.score,
            "strength": self.strength,
            "guarantee": self.guarantee.to_dict(),
            "facts": dict(self.facts),
        }

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The promise, then the numbers of the fit."""
        promise = f"{self.guarantee.kind}: {self.guarantee.condition}"
        facts = {"guarantee": promise, "dimensions": self.query.dim, **self.facts}
        title = f"{self.name} at strength {self.strength:g}, searched by {self.score}"
        return title, [{"": name, "value": value} for name, value in facts.items()]

    def then(self, outer: Closer) -> Closer:
        """This closer and then ``outer``, fitted on what comes out of this one.

        Rows go through both maps, the candidate biases add up, the weaker promise counts, and
        bounds add up. It is searched with the outer closer's score.

        Raises:
            CloserError: candidates with a bias are normalised in between, this closer keeps
                coordinates in float, or the two are searched with scores that rank differently.
        """
        if self.memo:
            raise CloserError(
                "memo-first",
                f"{self.name} keeps {self.memo} coordinates in float, which {outer.name} would "
                f"mix with the others; apply {outer.name} first",
            )
        if self.bias_weights is not None and self.score != outer.score:
            raise CloserError(
                "scores-differ",
                f"{self.name} has a candidate bias for the {self.score} score, {outer.name} is "
                f"searched by {outer.score}; fit both for one score",
            )
        bias = self.bias_weights
        candidate = chain(self.candidate, outer.candidate)
        if bias is not None and candidate.normalised and not self.candidate.normalised:
            raise CloserError(
                "normalised-between",
                f"{self.name} has a bias of candidates as they are, which {outer.name} then "
                "normalises; fit both on unit rows",
            )
        if outer.bias_weights is not None:
            inner = self.candidate
            bends = inner.renormalised or (outer.candidate.normalised and not inner.is_identity)
            if not isinstance(inner, AffineMap) or bends:
                raise CloserError(
                    "normalised-between",
                    f"{outer.name} has a bias of candidates that are normalised after "
                    f"{self.name}, which is no linear function of the row; apply them in turn",
                )
            pulled = (
                outer.bias_weights if inner.matrix is None else inner.matrix.T @ outer.bias_weights
            )
            bias = pulled if bias is None else bias + pulled
        return Closer(
            f"{self.name}+{outer.name}",
            outer.score,
            outer.strength,
            chain(self.query, outer.query),
            candidate,
            _both(self, outer),
            bias,
            {f"first_{k}": v for k, v in self.other_facts.items()} | outer.other_facts,
            outer.memo,
        )

    def checked(self) -> Closer:
        """This closer, if its parts fit together.

        Raises:
            ValueError: they do not, or a number is not finite.
        """
        for role in ROLES:
            dim = self.map_of(role).dim
            for place, step in enumerate(self.map_of(role).steps):
                what = f"step {place} of {role}"
                if step.dim != dim:
                    raise ValueError(f"{what} is of {step.dim} dimensions, expected {dim}")
                parts = Parts.of({f"the matrix of {what}": step.matrix, what: step.offset})
                if step.matrix is not None:
                    parts.array(f"the matrix of {what}", None, dim)
                dim = step.dim_out
                if step.offset is not None:
                    parts.array(what, dim)
        if self.query.dim_out != self.candidate.dim_out:
            raise ValueError("its two maps do not lead to one space")
        if not 0 <= self.memo <= self.query.dim_out:
            raise ValueError(f"memo is {self.memo} of {self.query.dim_out} dimensions")
        if self.bias_weights is not None:
            Parts.of({"bias": self.bias_weights}).array("bias", self.candidate.dim)
        return self

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        tensors = {"bias": np.zeros(0) if self.bias_weights is None else self.bias_weights}
        sides: dict[str, Any] = {}
        for role in ROLES:
            steps = []
            for place, step in enumerate(self.map_of(role).steps):
                prefix = role if place == 0 else f"{role}.{place}"
                steps.append({"dim": step.dim} | {k: getattr(step, v) for k, v in KEYS.items()})
                parts = {"matrix": step.matrix, "offset": step.offset}
                tensors |= {f"{prefix}.{k}": v for k, v in parts.items() if v is not None}
            sides[role] = {**steps[0], **({"then": steps[1:]} if len(steps) > 1 else {})}
        fields = {
            **{"name": self.name, "score": self.score, "strength": float(self.strength)},
            **{"guarantee": self.guarantee.to_dict(), "sides": sides, "facts": dict(self.facts)},
            **({"memo": self.memo} if self.memo else {}),
        }
        return fields, tensors

    @classmethod
    def _from_parts(cls, parts: Parts) -> Any:
        sides = parts.value("sides")
        bias = parts.array("bias", None)
        return cls(
            parts.text("name"),
            parts.text("score", *SCORES),
            parts.number("strength"),
            _read_map("query", sides["query"], parts),
            _read_map("candidate", sides["candidate"], parts),
            Guarantee.read(parts.value("guarantee")),
            bias if len(bias) else None,
            parts.facts(),
            parts.count("memo") if "memo" in parts.fields else 0,
        ).checked()


def is_place(rows: Any) -> bool:
    """Whether rows lie somewhere (a path, a glob, a ``Rows``) and are not in memory."""
    return isinstance(rows, (str, PathLike)) or hasattr(rows, "shard_bounds")


def _read(rows: Any) -> Array:
    return open_rows(rows).read() if is_place(rows) else rows


def _read_map(role: str, side: dict[str, Any], parts: Parts) -> RowMap:
    steps = []
    for place, step in enumerate([side, *side.get("then", [])]):
        prefix = role if place == 0 else f"{role}.{place}"
        matrix, offset = (parts.arrays.get(f"{prefix}.{part}") for part in ("matrix", "offset"))
        stated = Parts.of(step)
        steps.append(AffineMap(stated.count("dim", 1), matrix, offset, *map(stated.flag, KEYS)))
    return steps[0] if len(steps) == 1 else Chain(tuple(steps))


def _both(inner: Closer, outer: Closer) -> Guarantee:
    """What is left of two promises when the closings follow one another.

    A promise ends where rows it moved are normalised again (but for an exact one by cosine, which
    normalising does not touch; a bound would be in other units), and where the second closing ranks
    by another score; unit rows ranked by cosine may go on by dot.
    """
    first, second = inner.guarantee, outer.guarantee
    order: tuple[Kind, ...] = ("exact", "bounded", "none")
    kind = max(first.kind, second.kind, key=order.index)
    again = any(
        after.normalised and not before.is_identity
        for before, after in ((inner.query, outer.query), (inner.candidate, outer.candidate))
    )
    same = first.score == second.score or (first.score, second.score) == ("cosine", "dot")
    if not same or (again and (first.score != "cosine" or kind == "bounded")):
        kind = "none"
    bound = (first.bound or 0.0) + (second.bound or 0.0) if kind == "bounded" else None
    return Guarantee(second.score, kind, f"{first.condition}; then {second.condition}", bound)
