"""Maps of rows: what a closer does to rows of one role. Nothing is fitted here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.core.arrays import EPS64, Array, is_numpy, like, namespace, unit, working
from isthmus.errors import CloserError, ShapeError


@dataclass(frozen=True, eq=False)
class AffineMap:
    """x -> normalise?(A · normalise?(x) + b): what a closer does to rows of one role.

    ``matrix`` is (r, d), or None for the identity; ``offset`` is (r,), or None for zero. Both are
    float64; rows keep their own dtype (float16 is computed and returned as float32).
    """

    dim: int
    matrix: np.ndarray | None = None
    offset: np.ndarray | None = None
    normalised: bool = False
    renormalised: bool = False

    def __call__(self, rows: Array) -> Array:
        """Map rows (n, d) -> (n, r), on their device. O(n d) for a translation, else O(n d r).

        Raises:
            ShapeError: the rows have another number of dimensions than the map was fitted for.
        """
        if len(rows.shape) != 2 or int(rows.shape[1]) != self.dim:
            raise ShapeError(
                "wrong-dim",
                f"rows have shape {tuple(int(s) for s in rows.shape)}, but this map was fitted "
                f"for {self.dim} dimensions; use rows of the same model",
            )
        entered = out = working(rows)
        if self.normalised:
            out = unit(out)
        if self.picked is not None and is_numpy(out):
            columns, weights = self.picked
            out = out[:, columns]
            out *= like(out, weights)
        elif self.parted is not None and is_numpy(out):
            apart = like(out, self.parted)
            along = out @ apart.T
            long = np.empty((len(out), self.dim_out), out.dtype)
            np.matmul(along, apart, out=long[:, : self.dim])
            np.subtract(out, long[:, : self.dim], out=long[:, : self.dim])
            long[:, self.dim :] = along
            out = long
        elif self.matrix is not None:
            xp = namespace(out)
            out = xp.matmul(out, xp.matrix_transpose(like(out, self.matrix)))
        if self.offset is not None:
            offset = like(out, self.offset)[None, :]
            if out is entered or not is_numpy(out):
                out = out + offset
            else:  # fresh memory costs more than the sum
                out += offset
        return unit(out, spent=out is not entered) if self.renormalised else out

    @cached_property
    def picked(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(r,) columns and (r,) what they are multiplied by, where that is all the matrix does."""
        if self.matrix is None or np.count_nonzero(self.matrix) > len(self.matrix):
            return None
        columns = np.abs(self.matrix).argmax(axis=1)
        weights = self.matrix[np.arange(len(columns)), columns]
        alone = np.count_nonzero(self.matrix) == np.count_nonzero(weights)
        return (columns, weights) if alone else None

    @cached_property
    def parted(self) -> np.ndarray | None:
        """U (r, d) of a matrix [I - UᵀU; U], which takes the part along U out of rows and puts it
        after them: O(n d r) instead of O(n d²). None of other matrices."""
        if self.matrix is None or not self.dim < len(self.matrix) < 2 * self.dim:
            return None
        apart = self.matrix[self.dim :]
        rest = np.eye(self.dim) - apart.T @ apart
        size = 1.0 + float(np.abs(rest).max())
        off = np.abs(self.matrix[: self.dim] - rest).max()
        return apart if off <= 4 * EPS64 * size else None

    @property
    def steps(self) -> tuple[AffineMap, ...]:
        """The affine maps this consists of, in the order they are applied: itself."""
        return (self,)

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
            raise ShapeError(
                "maps-do-not-chain",
                f"a map to {self.dim_out} dimensions cannot feed one of {outer.dim}",
            )
        if self.renormalised or (outer.normalised and not self.is_identity):
            raise CloserError(
                "normalised-between",
                "a normalisation stands between the two maps, so they are no single affine map; "
                "apply them in turn",
            )
        matrix = outer.matrix
        if self.matrix is not None:
            matrix = self.matrix if matrix is None else matrix @ self.matrix
        offset = outer.offset
        if self.offset is not None:
            moved = self.offset if outer.matrix is None else outer.matrix @ self.offset
            offset = moved if offset is None else moved + offset
        return AffineMap(
            self.dim,
            matrix,
            offset,
            self.normalised or outer.normalised,
            renormalised=outer.renormalised,
        )


@dataclass(frozen=True, eq=False)
class Chain:
    """Affine maps in turn, with a normalisation between them, so that no single one is all.

    Built by :func:`chain`, which merges what can be merged.
    """

    steps: tuple[AffineMap, ...]

    def __call__(self, rows: Array) -> Array:
        """Map rows (n, d) -> (n, r), step by step."""
        for step in self.steps:
            rows = step(rows)
        return rows

    @property
    def dim(self) -> int:
        """Dimensions of what goes in."""
        return self.steps[0].dim

    @property
    def dim_out(self) -> int:
        """Dimensions of what comes out."""
        return self.steps[-1].dim_out

    @property
    def normalised(self) -> bool:
        """Whether it begins by normalising."""
        return self.steps[0].normalised

    @property
    def renormalised(self) -> bool:
        """Whether it ends by normalising."""
        return self.steps[-1].renormalised

    @property
    def is_identity(self) -> bool:
        """Whether rows pass unchanged (but for normalising, where asked)."""
        return all(step.is_identity for step in self.steps)


RowMap = AffineMap | Chain


def chain(*maps: RowMap) -> RowMap:
    """Maps applied in turn, as one affine map where no normalisation stands between them.

    Raises:
        ShapeError: the dimensions do not chain.
    """
    steps: list[AffineMap] = []
    for step in (step for one in maps for step in one.steps):
        if steps:
            try:
                steps[-1] = steps[-1].then(step)
                continue
            except CloserError:
                pass
        steps.append(step)
    return steps[0] if len(steps) == 1 else Chain(tuple(steps))
