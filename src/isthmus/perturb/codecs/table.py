"""The registry of codecs, and the one function that fits them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.registry import Registry
from isthmus.errors import OptionError
from isthmus.perturb.codecs.base import Codec
from isthmus.perturb.codecs.error import CodecError, measure_error
from isthmus.perturb.codecs.minmax import MinMaxBytes
from isthmus.perturb.codecs.rabitq import fit_multi_bit, fit_rabitq
from isthmus.perturb.codecs.rotation import Rotated, turned_calibration
from isthmus.perturb.codecs.stores import fit_opq, fit_pq, fit_scalar
from isthmus.perturb.codecs.uniform import SignBits, UniformQuantiser


@dataclass(frozen=True)
class CodecFamily:
    """One entry of the registry: how its names are spelt, how it is fitted, what it is.

    ``fit(calibration, *numbers in the name, **options)`` -> :class:`~isthmus.perturb.codecs.Codec`;
    ``options`` lists what it takes. ``pattern`` is a regular expression of its names.
    """

    pattern: str
    fit: Callable[..., Codec]
    words: str
    options: tuple[str, ...] = ()


ROTATED = "rotated-"
_DIGITS = 10


class _Codecs(Registry[CodecFamily]):
    """Codecs are found by the name they are listed under, and by every name of their pattern."""

    def _known(self, name: str) -> str | None:
        found = super()._known(name)
        return found or next((k for k, f in self._entries.items() if _numbers(f, name)), None)


def _numbers(family: CodecFamily, name: str) -> re.Match[str] | None:
    found = re.fullmatch(family.pattern, name.removeprefix(ROTATED))
    return found if found and all(len(n) < _DIGITS for n in found.groups()) else None


def _scalar(name: str) -> Callable[..., Codec]:
    return lambda calibration: fit_scalar(name, calibration)


def _bytes(signed: bool, decoded: bool) -> Callable[..., Codec]:
    return lambda calibration: MinMaxBytes.fit(calibration, signed=signed, decoded=decoded)


CODECS = _Codecs("codec", group="isthmus.codecs", kind=CodecFamily)
"""Every codec; ``rotated-`` before any name puts a random rotation (option ``seed``) in front.
Third parties add a :class:`CodecFamily` by the entry point group ``isthmus.codecs``."""

OLD_SPELLINGS = {"sign": ("sign-bits",), "bins-<n>": ("uniform-quantisation",)}
"""How reports and stress tables call two of them; ``uniform-quantisation`` has n as its level."""

for _name, _family in {
    "fp16": CodecFamily("fp16", _scalar("fp16"), "IEEE half precision, largest value 65504"),
    "bf16": CodecFamily("bf16", _scalar("bf16"), "the upper half of a float32, rounded"),
    "sq8": CodecFamily("sq8", _scalar("sq8"), "FAISS: 256 cells of each coordinate's range"),
    "sq6": CodecFamily("sq6", _scalar("sq6"), "FAISS: 64 cells of each coordinate's range"),
    "sq4": CodecFamily("sq4", _scalar("sq4"), "FAISS: 16 cells of each coordinate's range"),
    "int8": CodecFamily("int8", _bytes(True, True), "each coordinate's min-max in bytes, decoded"),
    "uint8": CodecFamily("uint8", _bytes(False, True), "the same; codes from 0 instead of -128"),
    "int8-codes": CodecFamily("int8-codes", _bytes(True, False), "int8 compared without decoding"),
    "uint8-codes": CodecFamily(
        "uint8-codes", _bytes(False, False), "uint8 compared without decoding"
    ),
    "sign": CodecFamily("sign", SignBits.fit, "the sign of each coordinate"),
    "bins-<n>": CodecFamily(r"bins-(\d+)", UniformQuantiser.fit, "one range for all, n cells"),
    "pq<m>x<bits>": CodecFamily(
        r"pq(\d+)x(\d+)", fit_pq, "product quantiser, m parts of 2^bits centroids", ("seed",)
    ),
    "opq<m>x<bits>": CodecFamily(
        r"opq(\d+)x(\d+)", fit_opq, "the same behind a trained rotation", ("seed", "rounds")
    ),
    "rabitq": CodecFamily("rabitq", fit_rabitq, "1 bit and exact numbers with it", ("query_bits",)),
    "rabitq<bits>": CodecFamily(
        r"rabitq(\d+)", fit_multi_bit, "2 to 9 bits and exact numbers with them"
    ),
}.items():
    CODECS.register(_name, _family, aliases=OLD_SPELLINGS.get(_name, ()))


def find_codec(name: str) -> tuple[CodecFamily, tuple[int, ...]]:
    """The entry a name belongs to (``rotated-`` taken off), and the numbers in it.

    Raises:
        OptionError: there is no such codec, or its name lacks a number.
    """
    listed = CODECS.canonical(name)
    found = _numbers(CODECS[listed], listed if name in CODECS.aliases else name)
    if found is None:
        raise OptionError("codec-number", f"codec '{name}' needs a number; name it {listed}")
    return CODECS[listed], tuple(int(number) for number in found.groups())


def fit_codec(name: str, calibration: np.ndarray, **options: Any) -> Codec:
    """A codec by its name, fitted on calibration rows (n, d).

    Args:
        name: for example ``sq8``, ``pq32x8``, ``rotated-sign``.
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
            "unknown-option",
            f"{name} takes no option '{unknown[0]}'; it takes {', '.join(allowed) or 'none'}",
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
