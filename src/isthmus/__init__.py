"""Isthmus: measure, explain, close and stress-test the modality gap of embeddings.

    from isthmus.workflows.audits import audit
    result = audit("images.npy", "captions.npy")

The records and fitters most people need are here by name and load when they are first used, so
``import isthmus`` costs no more than NumPy. Functions that share their module's name (``audit``,
``verify``, ``recommend``, ``summarise``) are imported from it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from isthmus._version import __version__
from isthmus.errors import IsthmusError

_HOMES = {
    "Audit": "workflows.audits",
    "AuditOptions": "workflows.audits",
    "CLOSERS": "closers",
    "fit": "closers",
    "Embeddings": "data.embeddings",
    "Pairs": "data.embeddings",
    "load_encoder": "encoders",
    "GapReport": "metrics.gap",
    "measure_gap": "metrics.gap",
    "open_rows": "data",
    "write_rows": "data",
    "AffineMap": "closers.maps",
    "Closer": "closers.maps",
    "Guarantee": "closers.maps",
    "Moments": "data.moments",
    "PairMoments": "data.moments",
    "Ranking": "search.scores",
    "top_k": "search.scores",
}

__all__ = ["IsthmusError", "__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isthmus' has no attribute '{name}'")
    value = getattr(import_module(f"isthmus.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
