"""Running sums of one side's rows, chunk by chunk about a pivot: what ``Moments`` are made of."""

from __future__ import annotations

import numpy as np

from isthmus.core.arrays import Array, detached, difference, like, namespace, to_numpy, working

SUBCHUNK = 256
"""Rows summed in the working dtype for the mean; sums of these are float64."""


class Side:
    """Running count, mean and scatter of one side."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.count = 0
        self.mean = np.zeros(dim)
        self.scatter = np.zeros((dim, dim))
        self._held: Array = None

    def step(
        self, rows: Array, double: bool, count: int
    ) -> tuple[Array, np.ndarray, np.ndarray, float]:
        """Take in one chunk of raw rows; return what the cross scatter of a pair needs.

        Returns the shifted rows (valid until the next step), their mean about the pivot, the jump
        from the running mean to the chunk's mean, and the weight of that jump in the merge.
        """
        rows = detached(rows)
        head = working(rows[: min(SUBCHUNK, count), :], double=double)
        xp = namespace(head)
        pivot = xp.mean(head, axis=0) if self.count == 0 else like(head, self.mean)
        pivot = working(xp.astype(pivot, rows.dtype), double=double)
        shifted = self._buffer(head, count)
        ones = xp.ones_like(head[:, :1])  # a matrix product sums columns much faster
        about = np.zeros(self.dim)
        for start in range(0, count, SUBCHUNK):  # a part is shifted and summed while in cache
            stop = min(start + SUBCHUNK, count)
            part = difference(rows[start:stop, :], pivot, shifted[start:stop, :])
            weights = xp.matrix_transpose(ones[: stop - start, :])
            about += to_numpy(xp.matmul(weights, part)[0, :])
        about /= count
        product = to_numpy(xp.matmul(xp.matrix_transpose(shifted), shifted))
        jump = to_numpy(pivot).astype(np.float64) + about - self.mean
        total = self.count + count
        weight = self.count * (count / total)
        self.scatter += product
        self.scatter -= np.outer(about * count, about)
        if weight:
            self.scatter += np.outer(jump * weight, jump)
        self.mean = self.mean + jump * (count / total)
        self.count = total
        return shifted, about, jump, weight

    def _buffer(self, head: Array, count: int) -> Array:
        """A buffer (count, d) of the dtype and device of ``head``, kept from chunk to chunk."""
        from array_api_compat import device

        buffer = self._held
        fits = (
            buffer is not None
            and namespace(buffer) is namespace(head)
            and buffer.dtype == head.dtype
            and device(buffer) == device(head)
            and int(buffer.shape[0]) >= count
        )
        if not fits:
            shape = (count, self.dim)
            buffer = namespace(head).empty(shape, dtype=head.dtype, device=device(head))
            self._held = buffer
        return buffer[:count, :]
