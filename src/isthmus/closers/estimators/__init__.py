"""Closers as scikit-learn transformers: :class:`GapCloser`. Needs the extra ``sklearn``.

What it is for and how it stands in a pipeline: ``docs/estimators.md``.
"""

from __future__ import annotations

from isthmus.errors import MissingExtra

try:
    import sklearn  # noqa: F401
except ImportError as missing:
    raise MissingExtra("isthmus.closers.estimators", "scikit-learn", "sklearn") from missing

from isthmus.closers.estimators.gap_closer import GapCloser

__all__ = ["GapCloser"]
