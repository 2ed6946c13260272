"""Isthmus: measure, explain, close and stress-test the modality gap of embeddings.

    import isthmus as im
    im.audit("images.npy", "captions.npy").save("report.html")

Every name here loads when it is first used, so ``import isthmus`` costs no more than NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from isthmus._version import __version__
from isthmus.errors import IsthmusError

if TYPE_CHECKING:
    from isthmus import closers as closers
    from isthmus import encoders as encoders
    from isthmus import engines as engines
    from isthmus import lab as lab
    from isthmus.closers import fit as fit
    from isthmus.closers import verify as verify
    from isthmus.closers.closer import Closer as Closer
    from isthmus.closers.closer import Guarantee as Guarantee
    from isthmus.closers.maps import AffineMap as AffineMap
    from isthmus.closers.verification import Verification as Verification
    from isthmus.data import Rows as Rows
    from isthmus.data import open_rows as open_rows
    from isthmus.data import write_rows as write_rows
    from isthmus.data.moments import Moments as Moments
    from isthmus.data.moments import PairMoments as PairMoments
    from isthmus.data.row_stats import InputWarning as InputWarning
    from isthmus.deploy import stores as stores
    from isthmus.deploy.canary import Canary as Canary
    from isthmus.deploy.canary import CanaryCheck as CanaryCheck
    from isthmus.deploy.canary import check_canary as check_canary
    from isthmus.deploy.canary import make_canary as make_canary
    from isthmus.deploy.comparison import Comparison as Comparison
    from isthmus.deploy.comparison import compare as compare
    from isthmus.deploy.retrieval import Hits as Hits
    from isthmus.deploy.retrieval import retrieve as retrieve
    from isthmus.deploy.thresholds import Calibration as Calibration
    from isthmus.deploy.thresholds import Decisions as Decisions
    from isthmus.deploy.thresholds import calibrate as calibrate
    from isthmus.encoders import load_encoder as load_encoder
    from isthmus.encoders.embedding import embed as embed
    from isthmus.encoders.rows_file import Embedded as Embedded
    from isthmus.metrics.gap_report import GapReport as GapReport
    from isthmus.metrics.gap_report import measure as measure
    from isthmus.perturb import codecs as codecs
    from isthmus.robustness import StressTable as StressTable
    from isthmus.robustness import stress as stress
    from isthmus.robustness.mixed.levelling import PoolCloser as PoolCloser
    from isthmus.robustness.mixed.measured import mixed as mixed
    from isthmus.robustness.mixed.verdict import Mixed as Mixed
    from isthmus.search.gallery import search_rows as search_rows
    from isthmus.search.opening import open_task as open_task
    from isthmus.search.relevance import Relevance as Relevance
    from isthmus.search.running import RunningTopK as RunningTopK
    from isthmus.search.scores import Ranking as Ranking
    from isthmus.search.scores import top_k as top_k
    from isthmus.search.task import RetrievalTask as RetrievalTask
    from isthmus.theory.prediction import Prediction as Prediction
    from isthmus.theory.prediction import predict as predict
    from isthmus.workflows.audits import Audit as Audit
    from isthmus.workflows.audits import audit as audit
    from isthmus.workflows.recommendation import Advice as Advice
    from isthmus.workflows.recommendation import recommend as recommend
    from isthmus.workflows.storage import StoragePlan as StoragePlan
    from isthmus.workflows.storage import plan as plan

_VERBS = {
    "audit": "workflows.audits",
    "calibrate": "deploy.thresholds",
    "check_canary": "deploy.canary",
    "compare": "deploy.comparison",
    "embed": "encoders.embedding",
    "fit": "closers",
    "make_canary": "deploy.canary",
    "measure": "metrics.gap_report",
    "mixed": "robustness.mixed.measured",
    "plan": "workflows.storage",
    "predict": "theory.prediction",
    "recommend": "workflows.recommendation",
    "retrieve": "deploy.retrieval",
    "stress": "robustness",
    "verify": "closers",
}
"""Function -> the module it loads from."""
_NOUNS = {
    "Advice": "workflows.recommendation",
    "AffineMap": "closers.maps",
    "Audit": "workflows.audits",
    "Calibration": "deploy.thresholds",
    "Canary": "deploy.canary",
    "CanaryCheck": "deploy.canary",
    "Closer": "closers.closer",
    "Comparison": "deploy.comparison",
    "Decisions": "deploy.thresholds",
    "Embedded": "encoders.rows_file",
    "GapReport": "metrics.gap_report",
    "Guarantee": "closers.closer",
    "Hits": "deploy.retrieval",
    "InputWarning": "data.row_stats",
    "Mixed": "robustness.mixed.verdict",
    "Moments": "data.moments",
    "PairMoments": "data.moments",
    "PoolCloser": "robustness.mixed.levelling",
    "Prediction": "theory.prediction",
    "Ranking": "search.scores",
    "Relevance": "search.relevance",
    "RetrievalTask": "search.task",
    "Rows": "data",
    "RunningTopK": "search.running",
    "StoragePlan": "workflows.storage",
    "StressTable": "robustness",
    "Verification": "closers.verification",
    "load_encoder": "encoders",
    "open_rows": "data",
    "open_task": "search.opening",
    "search_rows": "search.gallery",
    "top_k": "search.scores",
    "write_rows": "data",
}
"""Record, or what makes one -> the module it loads from."""
_MODULES = {
    "closers": "closers",
    "codecs": "perturb.codecs",
    "encoders": "encoders",
    "engines": "engines",
    "lab": "lab",
    "stores": "deploy.stores",
}
"""Name -> the module it is."""

__all__ = ["IsthmusError", "__version__", *_VERBS, *_NOUNS, *_MODULES]


def __getattr__(name: str) -> Any:
    homes = _VERBS | _NOUNS | _MODULES
    if name not in homes:
        raise AttributeError(f"module 'isthmus' has no attribute '{name}'")
    module = import_module(f"isthmus.{homes[name]}")
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
