"""The codecs by name, and the one function that fits them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import OptionError
from isthmus.perturb.codecs.base import Codec
from isthmus.perturb.codecs.error import CodecError, measure_error
from isthmus.perturb.codecs.minmax import MinMaxBytes
from isthmus.perturb.codecs.rabitq import fit_rabitq
from isthmus.perturb.codecs.rotation import Rotated, turned_calibration
from isthmus.perturb.codecs.stores import fit_opq, fit_pq, fit_scalar
from isthmus.perturb.codecs.uniform import SignBits, UniformQuantiser


@dataclass(frozen=True)
class Family:
    """One line of the table: how its names are spelt, how it is fitted, what it is.

    ``fit(calibration, *numbers in the name, **options)``; ``options`` lists what it takes.
    """

    pattern: str
    fit: Callable[..., Codec]
    words: str
    options: tuple[str, ...] = ()


def _scalar(name: str) -> Callable[..., Codec]:
    return lambda calibration: fit_scalar(name, calibration)


def _bytes(signed: bool, decoded: bool) -> Callable[..., Codec]:
    return lambda calibration: MinMaxBytes.fit(calibration, signed=signed, decoded=decoded)


CODECS: dict[str, Family] = {
    "fp16": Family("fp16", _scalar("fp16"), "IEEE half precision, largest value 65504"),
    "bf16": Family("bf16", _scalar("bf16"), "the upper half of a float32, rounded"),
    "sq8": Family("sq8", _scalar("sq8"), "FAISS: 256 cells of each coordinate's range"),
    "sq6": Family("sq6", _scalar("sq6"), "FAISS: 64 cells of each coordinate's range"),
    "sq4": Family("sq4", _scalar("sq4"), "FAISS: 16 cells of each coordinate's range"),
    "int8": Family("int8", _bytes(True, True), "each coordinate's min-max in bytes, decoded"),
    "uint8": Family("uint8", _bytes(False, True), "the same; codes from 0 instead of -128"),
    "int8-codes": Family("int8-codes", _bytes(True, False), "int8 compared without decoding"),
    "uint8-codes": Family("uint8-codes", _bytes(False, False), "uint8 compared without decoding"),
    "sign": Family("sign", SignBits.fit, "the sign of each coordinate"),
    "bins-<n>": Family(r"bins-(\d+)", UniformQuantiser.fit, "one range for all, n cells"),
    "pq<m>x<bits>": Family(
        r"pq(\d+)x(\d+)", fit_pq, "product quantiser, m parts of 2^bits centroids", ("seed",)
    ),
    "opq<m>x<bits>": Family(
        r"opq(\d+)x(\d+)", fit_opq, "the same behind a trained rotation", ("seed", "rounds")
    ),
    "rabitq": Family("rabitq", fit_rabitq, "1 bit and exact numbers beside it", ("query_bits",)),
}
"""Every codec; ``rotated-`` before any name puts a random rotation (option ``seed``) in front."""

ROTATED = "rotated-"
_LIMIT = 10


def find_codec(name: str) -> tuple[Family, tuple[int, ...]]:
    """The line of the table a name belongs to (``rotated-`` taken off), and the numbers in it.

    Raises:
        OptionError: there is no such codec.
    """
    for family in CODECS.values():
        found = re.fullmatch(family.pattern, name.removeprefix(ROTATED))
        if found and all(len(number) < _LIMIT for number in found.groups()):
            return family, tuple(int(number) for number in found.groups())
    raise OptionError(
        f"codec '{name}' is unknown; choose {', '.join(CODECS)}, or one of them after '{ROTATED}'"
    )


def fit_codec(name: str, calibration: np.ndarray, **options: Any) -> Codec:
    """A codec of the table, fitted on calibration rows (n, d).

    Args:
        name: as the table spells it, for example ``sq8``, ``pq32x8``, ``rotated-sign``.
        calibration: rows the codec may learn from, never silently those that are scored.
        options: ``seed`` (k-means, and the rotation of ``rotated-``; 0), ``rounds`` (OPQ; 10),
            ``query_bits`` (RaBitQ; 0). Fitting is deterministic, whatever the number of threads.

    Raises:
        OptionError: unknown name or option, or a number out of its range. ShapeError: no rows.
    """
    family, numbers = find_codec(name)
    rotated = name.startswith(ROTATED)
    allowed = family.options + (("seed",) if rotated else ())
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise OptionError(
            f"{name} takes no option '{unknown[0]}'; it takes {', '.join(allowed) or 'none'}"
        )
    if not rotated:
        return family.fit(calibration, *numbers, **options)
    rotation, turned = turned_calibration(calibration, name, options.get("seed", 0))
    inner = {key: value for key, value in options.items() if key in family.options}
    return Rotated(family.fit(turned, *numbers, **inner), rotation)


def held_out_error(name: str, calibration: np.ndarray, rows: np.ndarray) -> CodecError:
    """The error of a codec fitted on calibration rows, on rows it has not seen.

    For the ridge query shift both come without the candidates' mean: it codes centred rows.

    Raises:
        OptionError: no such codec. ShapeError: no rows, or too few for its codebook.
    """
    return measure_error(fit_codec(name, calibration), rows)
