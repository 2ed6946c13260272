"""Files for the tests of isthmus.data, written by the libraries other people would use."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy


def rows(n: int, dim: int, dtype: Any = "float32", seed: int = 0) -> np.ndarray:
    """Distinct rows (n, dim)."""
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(dtype)


def save_parquet(path: Path, array: np.ndarray, kind: str = "fixed", group: int = 100) -> None:
    """One column "vec" of lists beside an integer column "id"."""
    inner = pa.from_numpy_dtype(array.dtype)
    n, dim = array.shape
    flat = pa.array(array.reshape(-1), type=inner)
    if kind == "fixed":
        lists: Any = pa.FixedSizeListArray.from_arrays(flat, dim)
    elif kind == "list":
        lists = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * dim, flat)
    else:
        lists = pa.LargeListArray.from_arrays(np.arange(n + 1, dtype=np.int64) * dim, flat)
    pq.write_table(pa.table({"id": range(n), "vec": lists}), path, row_group_size=group)


def save_lists(path: Path, lists: list[Any], type_: Any = None) -> None:
    """One column "vec" of lists as they come, nulls and all."""
    pq.write_table(pa.table({"vec": pa.array(lists, type=type_ or pa.list_(pa.float32()))}), path)


def save_big_endian(path: Path, array: np.ndarray) -> None:
    """A .npy in the byte order of other machines."""
    np.save(path, array.astype(array.dtype.newbyteorder(">")))


def bfloat16_bits(array: np.ndarray) -> np.ndarray:
    """The upper 16 bits of float32 values (truncation), as uint16."""
    return (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2")


def bfloat16_value(bits: int) -> float:
    """What 16 bits mean as bfloat16, from sign, exponent and fraction."""
    sign = -1.0 if bits >> 15 else 1.0
    exponent, fraction = (bits >> 7) & 0xFF, bits & 0x7F
    if exponent == 0xFF:
        return sign * float("inf") if fraction == 0 else float("nan")
    if exponent == 0:
        return sign * fraction * 2.0 ** (-126 - 7)
    return sign * (1 + fraction / 128) * 2.0 ** (exponent - 127)


def save_bfloat16_tensors(path: Path, key: str, bits: np.ndarray) -> None:
    """A safetensors file with one BF16 tensor, written byte by byte."""
    shape = ",".join(str(n) for n in bits.shape)
    text = f'{{"{key}":{{"dtype":"BF16","shape":[{shape}],"data_offsets":[0,{bits.nbytes}]}}}}'
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + bits.tobytes())


def save_any(folder: Path, form: str, array: np.ndarray) -> str:
    """Write ``array`` in one of FORMS; returns the spec."""
    if form == "npy":
        np.save(folder / "x.npy", array)
        return str(folder / "x.npy")
    if form == "npy-fortran":
        np.save(folder / "f.npy", np.asfortranarray(array))
        return str(folder / "f.npy")
    if form == "npy-big-endian":
        save_big_endian(folder / "b.npy", array)
        return str(folder / "b.npy")
    if form == "npy-version-2":
        with open(folder / "v.npy", "wb") as handle:
            np.lib.format.write_array(handle, array, version=(2, 0))
        return str(folder / "v.npy")
    if form in ("npz", "npz-fortran"):
        given = np.asfortranarray(array) if form.endswith("fortran") else array
        np.savez(folder / "x.npz", vec=given, other=np.arange(3))
        return f"{folder / 'x.npz'}:vec"
    if form in ("npz-deflated", "npz-deflated-fortran"):
        given = np.asfortranarray(array) if form.endswith("fortran") else array
        np.savez_compressed(folder / "c.npz", vec=given, other=array[:1])
        return f"{folder / 'c.npz'}:vec"
    if form == "safetensors":
        safetensors.numpy.save_file(
            {"vec": array, "other": np.arange(3, dtype=np.int64)}, folder / "x.safetensors"
        )
        return f"{folder / 'x.safetensors'}:vec"
    kind = form.removeprefix("parquet-")
    save_parquet(folder / f"{kind}.parquet", array, kind)
    return f"{folder / kind}.parquet:vec"


FORMS = (
    "npy",
    "npy-fortran",
    "npy-big-endian",
    "npy-version-2",
    "npz",
    "npz-fortran",
    "npz-deflated",
    "npz-deflated-fortran",
    "safetensors",
    "parquet-fixed",
    "parquet-list",
    "parquet-large",
)


def zip_of(path: Path, members: dict[str, bytes]) -> None:
    """A zip archive of any content."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
