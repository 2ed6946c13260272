"""Which closer, under a floor of clean answers kept, or "do nothing".

:func:`recommend` chooses strength, ridge and truncation of every closer on some queries, reports
figures of the others, and says in words why. An audit decides by the same code, disturbance by
disturbance (``verdicts``). ``docs/recommend.md``.
"""

from isthmus.workflows.recommendation.advice import AccuracyGain, Advice, CloserFigures, PartFigures
from isthmus.workflows.recommendation.deciding import DEFAULT_FLOOR, Rules, nothing_recommended
from isthmus.workflows.recommendation.recommending import Question, advise, recommend

__all__ = [
    "DEFAULT_FLOOR",
    "AccuracyGain",
    "Advice",
    "CloserFigures",
    "PartFigures",
    "Question",
    "Rules",
    "advise",
    "nothing_recommended",
    "recommend",
]
