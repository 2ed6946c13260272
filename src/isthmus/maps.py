"""Maps of rows and the frozen record of a closing. Nothing is fitted here.

A :class:`Closer` is a map for queries, a map for candidates and one stored number per candidate:

    ranking(q, j) = score(query_map(q), candidate_map(x_j)) + ⟨bias, x_j⟩

The stored number (:meth:`Closer.bias_of`) is what makes a closing exact at any number of
candidates; ``x_j`` in it is the candidate as it enters the map (a unit row where the map begins by
normalising). For the euclidean score the ranking quantity is -½‖q - x‖² (see ``scores``), so a
bias is in the same units for all three scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any, Literal

import numpy as np

from isthmus._arrays import Array, like, namespace, unit, working
from isthmus.errors import CloserError, CorruptFile, ShapeError

Role = Literal["query", "candidate"]
Kind = Literal["exact", "bounded", "none"]


@dataclass(frozen=True, eq=False)
class AffineMap:
    """x -> normalise?(A · normalise?(x) + b): one side of a closer.

    ``matrix`` is (r, d), or None for the identity; ``offset`` is (r,), or None for zero. Both are
    float64; rows keep their own dtype (float16 is computed and returned as float32).
    """

    dim: int
    matrix: np.ndarray | None = None
    offset: np.ndarray | None = None
    unit_in: bool = False
    unit_out: bool = False

    def __call__(self, rows: Array) -> Array:
        """Map rows (n, d) -> (n, r), on their device. O(n d) for a translation, else O(n d r).

        Raises:
            ShapeError: the rows have another number of dimensions than the map was fitted for.
        """
        if len(rows.shape) != 2 or int(rows.shape[1]) != self.dim:
            raise ShapeError(
                f"rows have shape {tuple(int(s) for s in rows.shape)}, but this map was fitted "
                f"for {self.dim} dimensions; use rows of the same model"
            )
        out = working(rows)
        if self.unit_in:
            out = unit(out)
        if self.matrix is not None:
            xp = namespace(out)
            out = xp.matmul(out, xp.matrix_transpose(like(out, self.matrix)))
        if self.offset is not None:
            out = out + like(out, self.offset)[None, :]
        return unit(out) if self.unit_out else out

    @property
    def dim_out(self) -> int:
        """Dimensions of what comes out."""
        return self.dim if self.matrix is None else int(self.matrix.shape[0])

    @property
    def is_identity(self) -> bool:
        """Whether rows pass unchanged (but for normalising, where asked)."""
        return self.matrix is None and (self.offset is None or not self.offset.any())

    def then(self, outer: AffineMap) -> AffineMap:
        """One map that does this and then ``outer``: A₂A₁, A₂b₁ + b₂.

        Raises:
            CloserError: a normalisation stands between the two, so no single affine map is both.
            ShapeError: the dimensions do not chain.
        """
        if outer.dim != self.dim_out:
            raise ShapeError(f"a map to {self.dim_out} dimensions cannot feed one of {outer.dim}")
        if self.unit_out or (outer.unit_in and not self.is_identity):
            raise CloserError(
                "a normalisation stands between the two maps, so they are no single affine map; "
                "apply them in turn"
            )
        matrix = outer.matrix
        if self.matrix is not None:
            matrix = self.matrix if matrix is None else matrix @ self.matrix
        offset = outer.offset
        if self.offset is not None:
            moved = self.offset if outer.matrix is None else outer.matrix @ self.offset
            offset = moved if offset is None else moved + offset
        return AffineMap(
            self.dim, matrix, offset, self.unit_in or outer.unit_in, unit_out=outer.unit_out
        )


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

    def as_dict(self) -> dict[str, Any]:
        """The form of ``report.json``."""
        return {k: v for k, v in asdict(self).items() if v is not None}


@dataclass(frozen=True, eq=False)
class Closer:
    """A fitted, frozen closing. Build one with ``closers.fit``; it holds no rows.

    Attributes:
        name: the closer's name in the table ``closers.CLOSERS``.
        score: the score it is to be searched with.
        strength: 0 leaves everything as it is, 1 closes fully.
        query, candidate: the two maps.
        bias: (d,) weights w of the stored number ⟨w, x_j⟩ per candidate, or None.
        guarantee: what is promised of the clean ranking.
        facts: named numbers of the fit, for reports (norm moved, rank, share closable …).
    """

    name: str
    score: str
    strength: float
    query: AffineMap
    candidate: AffineMap
    guarantee: Guarantee
    bias: np.ndarray | None = None
    facts: Mapping[str, float] = field(default_factory=dict)

    def apply(self, rows: Array, role: Role) -> Array:
        """Map rows (n, d) of one role."""
        return self.map_of(role)(rows)

    def map_of(self, role: Role) -> AffineMap:
        """The map of one role.

        Raises:
            CloserError: the role is neither ``query`` nor ``candidate``.
        """
        if role not in ("query", "candidate"):
            raise CloserError(f"role '{role}' is unknown; say 'query' or 'candidate'")
        return self.query if role == "query" else self.candidate

    def bias_of(self, candidates: Array) -> np.ndarray:
        """The stored number of each candidate, (K,) float64, from its rows before the map."""
        rows = working(candidates, double=True)
        if self.candidate.unit_in:
            rows = unit(rows)
        if self.bias is None:
            return np.zeros(int(rows.shape[0]))
        from isthmus._arrays import to_numpy

        return to_numpy(namespace(rows).matmul(rows, like(rows, self.bias)))

    def save(self, path: str | PathLike[str]) -> None:
        """Write as safetensors: arrays as tensors, everything else readable in the header."""
        from isthmus.io import save_tensors

        tensors: dict[str, np.ndarray] = {}
        sides: dict[str, Any] = {}
        for role, side in (("query", self.query), ("candidate", self.candidate)):
            sides[role] = {"dim": side.dim, "unit_in": side.unit_in, "unit_out": side.unit_out}
            if side.matrix is not None:
                tensors[f"{role}.matrix"] = side.matrix
            if side.offset is not None:
                tensors[f"{role}.offset"] = side.offset
        tensors["bias"] = np.zeros(0) if self.bias is None else self.bias
        metadata = {
            "isthmus": "closer",
            "schema": "1",
            "name": self.name,
            "score": self.score,
            "strength": repr(float(self.strength)),
            "guarantee": json.dumps(self.guarantee.as_dict(), sort_keys=True),
            "sides": json.dumps(sides, sort_keys=True),
            "facts": json.dumps(dict(self.facts), sort_keys=True),
        }
        save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Closer:
        """Read what :meth:`save` wrote.

        Raises:
            CorruptFile: the file is something else, or lacks a part.
        """
        from isthmus.io import load_tensors

        tensors, metadata = load_tensors(path)
        if metadata.get("isthmus") != "closer":
            raise CorruptFile(
                f"{path} is no closer (its header says {metadata.get('isthmus', 'nothing')}); "
                "expected a file written by 'isthmus close'"
            )
        try:
            sides = json.loads(metadata["sides"])
            maps = {
                role: AffineMap(
                    int(side["dim"]),
                    tensors.get(f"{role}.matrix"),
                    tensors.get(f"{role}.offset"),
                    bool(side["unit_in"]),
                    bool(side["unit_out"]),
                )
                for role, side in sides.items()
            }
            bias = tensors["bias"]
            return cls(
                metadata["name"],
                metadata["score"],
                float(metadata["strength"]),
                maps["query"],
                maps["candidate"],
                Guarantee(**json.loads(metadata["guarantee"])),
                bias if len(bias) else None,
                json.loads(metadata["facts"]),
            )
        except (KeyError, TypeError, ValueError) as missing:
            raise CorruptFile(
                f"{path} is a closer with a part missing or unreadable ({missing}); write it again"
            ) from None
