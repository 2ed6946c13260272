"""One pool of texts and images: does one modality crowd out the other, and what does that cost?

:func:`mixed_share` is the short answer that the audit gives. :func:`mixed_curve` searches a corpus
in which every document is stored either as its image or as its text, from all texts to all images;
:func:`cross_cost` says what the same closings do to plain search of the other modality alone.
:class:`PoolCloser` is the closing that keeps every ranking within a modality; :func:`pool_closers`
fits others, to compare. :func:`pool_ranking` and :func:`search_pool` are the parts.
"""

from isthmus.robustness.mixed.curve import RATIOS, cross_cost, mixed_curve
from isthmus.robustness.mixed.levelling import PoolCloser, PoolHits
from isthmus.robustness.mixed.maps import PoolMaps, pool_closers, pool_ranking
from isthmus.robustness.mixed.outcomes import PoolOutcome, ndcg_at, ranked_gain, search_pool
from isthmus.robustness.mixed.shares import AT, POOL, QUERIES, mixed_share

__all__ = [
    "AT",
    "POOL",
    "QUERIES",
    "RATIOS",
    "PoolCloser",
    "PoolHits",
    "PoolMaps",
    "PoolOutcome",
    "cross_cost",
    "mixed_curve",
    "mixed_share",
    "ndcg_at",
    "pool_closers",
    "pool_ranking",
    "ranked_gain",
    "search_pool",
]
