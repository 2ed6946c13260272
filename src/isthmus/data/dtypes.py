"""Number formats as they are stored in files, and their decoding to NumPy's floats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.errors import DtypeError

FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Stored:
    """How numbers lie in a file: a readable ``name`` and the NumPy dtype ``raw`` of the bytes.

    bfloat16 has no NumPy dtype; its ``raw`` is a 16-bit unsigned integer.
    """

    name: str
    raw: np.dtype

    @property
    def native(self) -> np.dtype:
        """Dtype of decoded blocks: float32 for bfloat16, else the same float in native order."""
        return np.dtype(np.float32) if self.name == "bfloat16" else self.raw.newbyteorder("=")


def stored_as(dtype: np.dtype) -> Stored:
    """Name a NumPy dtype; two-byte void (how ``numpy.save`` writes ml_dtypes) is bfloat16."""
    if dtype.name == "bfloat16" or (
        dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and dtype.subdtype is None
    ):
        return Stored("bfloat16", np.dtype("<u2"))
    return Stored("structured" if dtype.names is not None else dtype_name(dtype), dtype)


def is_float(stored: Stored) -> bool:
    """Whether rows can be read from numbers stored so."""
    return stored.name == "bfloat16" or stored.name in FLOATS


WORDS = "SU"
"""Kinds of NumPy dtypes that hold words."""

_TEXT = ("words", "these are names or captions, not embeddings: encode them with a model first")
_OTHERS = {
    "O": (
        "Python objects",
        "save numpy.stack(list(array)) where all rows have one length, else choose one vector per "
        "item first; nothing is unpickled here",
    ),
    "i": (
        "integers",
        "decode codes first, code * scale + offset with what their codec keeps of each dimension; "
        "codes turned to floats as they are give other answers",
    ),
    "b": ("booleans", "convert with .astype(numpy.float32)"),
    "c": ("complex numbers", "save the real part, or real and imaginary parts side by side"),
    "S": _TEXT,
    "U": _TEXT,
    "": ("", "convert with .astype(numpy.float32)"),
}
_OTHERS["u"] = _OTHERS["i"]
_ONE_OBJECT = (
    "one Python object, probably a dict",
    "open it once with numpy.load(FILE, allow_pickle=True).item() if you trust where it came from, "
    "and save the array in it on its own",
)


def dtype_name(dtype: np.dtype) -> str:
    """What a person calls a dtype: words are ``<U3``, not ``str96``."""
    return dtype.str if dtype.kind in WORDS else dtype.name


def check_float(stored: Stored, what: str, shape: tuple[int, ...] | None = None) -> None:
    """Raise DtypeError unless numbers are float16, float32, float64 or bfloat16.

    ``shape``: of the array, where it is known; an object without axes is most often a dict.
    """
    if is_float(stored):
        return
    held, hint = _OTHERS.get(stored.raw.kind, _OTHERS[""])
    if stored.raw.kind == "O" and shape == ():
        held, hint = _ONE_OBJECT
    name = stored.name
    if stored.raw.names:
        held, hint = "records with named fields", "save the field with the embeddings on its own"
        name = ", ".join(stored.raw.names)
    raise DtypeError(
        "not-floats",
        f"{what} holds {f'{held} ({name})' if held else name}; expected float16, float32, float64 "
        f"or bfloat16: {hint}",
    )


def decode(raw: np.ndarray, stored: Stored, out: np.ndarray | None = None) -> np.ndarray:
    """Decode stored numbers; returns ``raw`` itself where nothing needs decoding.

    ``out``, if given, is a buffer of the same shape in ``stored.native`` that may be used.
    bfloat16 becomes float32 exactly: its 16 bits are the upper half of the float32.
    """
    if stored.name == "bfloat16":
        wide = np.empty(raw.shape, np.uint32) if out is None else out.view(np.uint32)
        wide[...] = raw
        np.left_shift(wide, np.uint32(16), out=wide)
        return wide.view(np.float32)
    if raw.dtype.isnative:
        return raw
    if out is None:
        return raw.astype(stored.native)
    out[...] = raw
    return out
