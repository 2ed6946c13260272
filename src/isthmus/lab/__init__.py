"""The laboratory: why there is a gap, what it does, and training with it in view.

The package is also the mapping of its experiments: ``list(isthmus.lab)`` are their names, and
``isthmus.lab["final-gap"].run()`` runs one. ``docs/lab.md`` tells what they show, in order.
"""

from __future__ import annotations

from isthmus.core.registry import module_is_registry
from isthmus.lab.registry import EXPERIMENTS, Experiment, Findings

__all__ = ["EXPERIMENTS", "Experiment", "Findings"]

module_is_registry(__name__, lambda: EXPERIMENTS)
