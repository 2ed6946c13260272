"""Closing methods: moments of queries and candidates -> a :class:`~isthmus.closers.closer.Closer`.

The package is also the mapping of its registry: ``list(isthmus.closers)`` are the names, and
``isthmus.closers["center-queries"]`` is what is known of one. One file per kind of map:
:mod:`translations` (exact or the paper's), :mod:`ridge` (noise against changed answers),
:mod:`projections` (span, subspace, memo), :mod:`shifts` and :mod:`matching` (baselines of the
literature). Formulas are in ``docs/formulas.md``, when to use which in ``docs/closing.md`` and one
page each under ``docs/closers``.
"""

from __future__ import annotations

from isthmus.closers.application import Applied, apply_to_file
from isthmus.closers.closer import Closer
from isthmus.closers.fitting import fit, needed, options_of
from isthmus.closers.method import ClosingMethod, Option
from isthmus.closers.promises import Given, hull_rank, off_hull
from isthmus.closers.registry import METHODS
from isthmus.closers.verification import Verification, verify
from isthmus.core.registry import module_is_registry

__all__ = [
    "METHODS",
    "Applied",
    "Closer",
    "ClosingMethod",
    "Given",
    "Option",
    "Verification",
    "apply_to_file",
    "fit",
    "hull_rank",
    "needed",
    "off_hull",
    "options_of",
    "verify",
]

module_is_registry(__name__, lambda: METHODS)
