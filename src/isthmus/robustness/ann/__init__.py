"""Approximate indexes across the gap: what they find of exact search, for how much work.

:func:`index_recall` searches FAISS's HNSW and IVF-flat with queries of either modality, before and
after closing, at several efforts. :func:`query_shift` says how far the queries lie outside what an
index was built on; :func:`held_out` keeps rows out of it as the control. :class:`Hnsw` and
:class:`IvfFlat` build; what they build fits ``perturb.codecs.search_through`` as its ``index``.
"""

from isthmus.robustness.ann.indexes import Found, Hnsw, IvfFlat, SearchIndex, StoredRows
from isthmus.robustness.ann.recall import EFFORTS, held_out, index_recall, work_at
from isthmus.robustness.ann.shift import mahalanobis, nearest_centroid, query_shift, shrunk_spectrum

__all__ = [
    "EFFORTS",
    "Found",
    "Hnsw",
    "IvfFlat",
    "SearchIndex",
    "StoredRows",
    "held_out",
    "index_recall",
    "mahalanobis",
    "nearest_centroid",
    "query_shift",
    "shrunk_spectrum",
    "work_at",
]
