"""Which closer, under a floor of clean answers kept, or "do nothing".

:func:`recommend` chooses among closers that a stress grid has measured, as ``isthmus audit`` does.
:func:`advise` starts from rows: it chooses strength, ridge and truncation of every closer on one
half of the queries, judges on the other, and says in words why. ``docs/recommend.md``.
"""

from isthmus.workflows.recommendation.advice import Advice, Figures, Raise, Row
from isthmus.workflows.recommendation.advise import advise
from isthmus.workflows.recommendation.measured import DEFAULT_FLOOR, Recommendation, recommend

__all__ = [
    "DEFAULT_FLOOR",
    "Advice",
    "Figures",
    "Raise",
    "Recommendation",
    "Row",
    "advise",
    "recommend",
]
