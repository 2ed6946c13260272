"""Float32 products on the device that rows came from.

Rows are read, moved and compared on the host. What costs most of the time, products of queries and
candidates, is taken where the arrays lived, through the array API.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from isthmus.core.arrays import Array, is_numpy, like, namespace, to_numpy

OFF = 1e-6
"""Products are float32's where they are off by no more than this share of the rows' lengths: a
quarter of what is settled in float64 (:data:`isthmus.search.settled.NEAR`)."""
TRIED = (64, 512)
_LOG = logging.getLogger("isthmus.devices")


@dataclass(frozen=True, eq=False)
class Device:
    """A device; ``sample`` is a float32 array that lies on it."""

    sample: Array

    @classmethod
    def of(cls, *sides: object) -> Device | None:
        """That of the first array that does not lie with the processor; None where there is none,
        or where its float32 products are of fewer digits (TF32, for example)."""
        found = next((side for side in sides if _is_away(side)), None)
        if found is None:
            return None
        from array_api_compat import device

        xp = namespace(found)
        one = cls(xp.zeros((1,), dtype=xp.float32, device=device(found)))
        rng = np.random.default_rng(0)
        a, b = (rng.normal(size=TRIED).astype(np.float32) for _ in range(2))
        exact = a.astype(np.float64) @ b.T.astype(np.float64)
        sizes = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        off = float((np.abs(one.product(a, one.put(b)) - exact) / sizes).max())
        if not off <= OFF:
            _LOG.warning(
                "products on %s are off by %.1g of the rows' lengths, where float32 is off by "
                "%.0e at most; the processor takes them until TF32 or the like is turned off",
                device(found),
                off,
                OFF,
            )
            return None
        return one

    def put(self, rows: np.ndarray) -> Array:
        """Rows (K, d) float32 on the device."""
        return like(self.sample, rows)

    def product(self, queries: np.ndarray, held: Array) -> np.ndarray:
        """Inner products (n, K), float32, of queries (n, d) and rows that are on the device."""
        xp = namespace(held)
        return to_numpy(xp.matmul(self.put(queries), xp.matrix_transpose(held)))


def _is_away(side: object) -> bool:
    """Whether an array or tensor lies elsewhere than with the processor."""
    if is_numpy(side) or not hasattr(side, "shape") or hasattr(side, "shard_bounds"):
        return False
    from array_api_compat import device, is_array_api_obj

    return is_array_api_obj(side) and "cpu" not in str(device(side)).lower()
