"""Natural order of names."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"([0-9]+)")


def natural(name: str) -> list[str | int]:
    """A sort key by which ``item:9`` comes before ``item:10``.

    Text and numbers alternate, so that like is compared with like; what begins with a digit has an
    empty text before it.

    >>> sorted(["item:10", "10", "item:9", "item"], key=natural)
    ['10', 'item', 'item:9', 'item:10']
    """
    pieces: list[str | int] = list(_DIGITS.split(name))
    pieces[1::2] = map(int, pieces[1::2])
    return pieces
