"""Codecs of rows: fitted on calibration rows, then frozen; codes saturate and never wrap.

The package is also the mapping of its registry: ``list(isthmus.codecs)`` are the names.
:func:`fit_codec` fits one by name, :func:`measure_error` says what kind
of error it makes, :func:`range_lints` whether its ranges fit the rows, and
:func:`search_through` plays a search through it: exact, coded, indexed and rescored.
"""

from isthmus.core.registry import module_is_registry
from isthmus.perturb.codecs.base import Codec, RangedCodec
from isthmus.perturb.codecs.error import CodecError, measure_error
from isthmus.perturb.codecs.lint import RangeLint, range_lints
from isthmus.perturb.codecs.minmax import MinMaxBytes
from isthmus.perturb.codecs.rabitq import MultiBitRaBitQ, RaBitQ, has_multi_bit
from isthmus.perturb.codecs.rotation import Rotated, random_rotation
from isthmus.perturb.codecs.search import (
    Index,
    Losses,
    StoreSearch,
    coded_ranking,
    recall_of,
    rescore,
    search_through,
)
from isthmus.perturb.codecs.stores import FaissCodec, FaissScalar
from isthmus.perturb.codecs.table import CODECS, CodecFamily, find_codec, fit_codec, held_out_error
from isthmus.perturb.codecs.uniform import SignBits, UniformQuantiser

__all__ = [
    "CODECS",
    "Codec",
    "CodecError",
    "CodecFamily",
    "FaissCodec",
    "FaissScalar",
    "Index",
    "Losses",
    "MinMaxBytes",
    "MultiBitRaBitQ",
    "RaBitQ",
    "RangeLint",
    "RangedCodec",
    "Rotated",
    "SignBits",
    "StoreSearch",
    "UniformQuantiser",
    "coded_ranking",
    "find_codec",
    "fit_codec",
    "has_multi_bit",
    "held_out_error",
    "measure_error",
    "random_rotation",
    "range_lints",
    "recall_of",
    "rescore",
    "search_through",
]

module_is_registry(__name__, lambda: CODECS)
