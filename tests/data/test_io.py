"""Files: every format round trip, streaming, atomic writing, and one sentence per bad input."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from io_helpers import (
    FORMS,
    bfloat16_bits,
    bfloat16_value,
    rows,
    save_any,
    save_bfloat16_tensors,
    save_lists,
    save_parquet,
    zip_of,
)
from isthmus import data as io
from isthmus.data.labels import checked_labels, checked_relevance
from isthmus.data.row_checks import checked_rows
from isthmus.errors import CorruptFile, DtypeError, FileError, IsthmusError, ShapeError, ValuesError
from refusals import refused


def joined(source: io.Rows, size: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    parts = [block.copy() for block in source.blocks(size, start, stop)]
    return np.concatenate([np.empty((0, source.dim), np.float16), *parts])


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_back_its_rows(tmp_path: Path, form: str, dtype: str) -> None:
    x = rows(257, 5, dtype)
    source = io.open_rows(save_any(tmp_path, form, x))
    assert (source.rows, source.dim, source.dtype) == (257, 5, dtype)
    assert source.shard_bounds == [0, 257]
    same(source.read(), x)
    for size in (1, 3, 64, 256, 257, 5000):
        same(joined(source, size), x)
        lengths = [len(b) for b in source.blocks(size)]
        assert all(n == size for n in lengths[:-1])
        assert sum(lengths) == 257
    same(source.take([256, 0, 0, 17, 3, 256]), x[[256, 0, 0, 17, 3, 256]])
    same(source.take(np.arange(257)[::-1]), x[::-1])
    same(source.take([]), x[:0])
    for start, stop in ((0, 0), (1, 2), (99, 201), (200, 257), (257, 257)):
        parts = [b.copy() for b in source.blocks(7, start, stop)]
        same(np.concatenate([x[:0], *parts]), x[start:stop])


@pytest.mark.parametrize("form", FORMS)
def test_sources_travel_between_processes(tmp_path: Path, form: str) -> None:
    source = io.open_rows(save_any(tmp_path, form, rows(20, 3)))
    again = pickle.loads(pickle.dumps(source))
    same(again.read(), rows(20, 3))
    assert again.spec == source.spec


def test_rows_larger_than_one_read_cross_its_edges(tmp_path: Path) -> None:
    x = rows(3001, 300)  # 3.6 MB: several reads of 1 MiB, and gaps for take
    np.save(tmp_path / "x.npy", x)
    source = io.open_rows(tmp_path / "x.npy")
    same(joined(source, 100, 5, 2999), x[5:2999])
    wanted = np.r_[0, 1, 500, 501, 502, 2000:2400, 3000]
    same(source.take(wanted), x[wanted])
    same(source.take(np.arange(0, 3001)), x)
    np.save(tmp_path / "f.npy", np.asfortranarray(rows(20000, 3)))
    fortran = io.open_rows(tmp_path / "f.npy")
    same(joined(fortran, 16383), rows(20000, 3))
    same(fortran.take([19999, 3]), rows(20000, 3)[[19999, 3]])


def test_take_reads_long_runs_in_parts(tmp_path: Path) -> None:
    x = rows(5000, 300)  # 6 MB, past the span of a single read
    np.savez_compressed(tmp_path / "x.npz", x=x)
    same(io.open_rows(tmp_path / "x.npz").take(np.arange(5000)), x)


def test_blocks_are_reused_and_take_is_a_copy(tmp_path: Path) -> None:
    x = rows(100_000, 8)
    np.save(tmp_path / "x.npy", x)
    first, second = (b for i, b in enumerate(io.open_rows(tmp_path / "x.npy").blocks(50_000)))
    assert first.base is not None
    assert np.shares_memory(first, second)
    kept = io.open_rows(x).take([1])
    kept[:] = 0
    assert x[1].any()


def test_two_passes_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    x = rows(50, 4)
    np.save(tmp_path / "x.npy", x)
    source = io.open_rows(tmp_path / "x.npy")
    for a, b in zip(source.blocks(7), source.blocks(7), strict=True):
        same(a, b)


@pytest.mark.parametrize(
    ("size", "start", "stop", "error"),
    [
        (0, 0, None, ValueError),
        (5, -1, None, IndexError),
        (5, 0, 11, IndexError),
        (5, 7, 6, IndexError),
    ],
)
def test_ranges_are_checked_at_once(
    size: int, start: int, stop: int | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        io.open_rows(rows(10, 2)).blocks(size, start, stop)


@pytest.mark.parametrize("indices", [[10], [-1], [1.5], [[1, 2]], [True, False]])
def test_take_refuses_what_is_no_row(indices: Any) -> None:
    with pytest.raises(IndexError):
        io.open_rows(rows(10, 2)).take(indices)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_block_size_never_changes_content(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("h")
    n, dim = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 4))
    form = data.draw(st.sampled_from([*FORMS, "shards"]))
    dtype = data.draw(st.sampled_from(["float16", "float32", "float64"]))
    x = rows(n, dim, dtype)
    if form == "shards":
        cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
        for i, part in enumerate(np.split(x, cuts)):
            np.save(folder / f"s{i}.npy", part)
        spec = str(folder)
    else:
        spec = save_any(folder, form, x)
    source = io.open_rows(spec)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    size = data.draw(st.integers(1, 70))
    blocks = [b.copy() for b in source.blocks(size, start, stop)]
    same(np.concatenate([x[:0], *blocks]), x[start:stop])
    assert all(len(b) == size for b in blocks[:-1])
    wanted = data.draw(st.lists(st.integers(0, n - 1), max_size=20))
    same(source.take(wanted), x[np.array(wanted, int)])


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(">f4"),
    ],
)
def test_an_array_is_a_source(change: Callable[[np.ndarray], np.ndarray]) -> None:
    x = rows(31, 4)
    given_array = change(x)
    given_array.flags.writeable = False
    source = io.open_rows(given_array)
    assert isinstance(source, io.ArraySource)
    assert isinstance(source, io.Rows)
    assert io.open_rows(source) is source
    assert (source.name, source.dtype) == ("array", "float32")
    same(source.read(), x)
    same(joined(source, 10, 3, 29), x[3:29])
    same(source.take([5, 5, 1]), x[[5, 5, 1]])
    if x.dtype == given_array.dtype:  # a view, not a decoded copy
        with pytest.raises(ValueError, match="read-only"):
            next(source.blocks())[:] = 0


def test_bfloat16_is_exact_for_every_bit_pattern(tmp_path: Path) -> None:
    bits = np.arange(65536, dtype="<u2").reshape(-1, 16)
    reference = np.array([bfloat16_value(int(b)) for b in bits.reshape(-1)]).reshape(bits.shape)
    assert np.isnan(reference).sum() == 2 * 127
    save_bfloat16_tensors(tmp_path / "x.safetensors", "vec", bits)
    np.save(tmp_path / "x.npy", bits.view("V2"))
    np.save(tmp_path / "f.npy", np.asfortranarray(bits.view("V2")))
    np.savez_compressed(tmp_path / "x.npz", a=bits.view("V2"))
    for spec in ("x.safetensors", "x.npy", "f.npy", "x.npz"):
        source = io.open_rows(tmp_path / spec)
        assert source.dtype == "bfloat16"
        for got in (source.read(), joined(source, 33), source.take(np.arange(4096))):
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, reference)
            assert bool(np.all(np.signbit(got) == (bits >> 15 == 1)))
    same(io.open_rows(bits.view("V2")).read(), io.open_rows(tmp_path / "x.npy").read())
    tensors, _ = io.load_tensors(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(tensors["vec"], reference)
    assert bfloat16_value(int(bfloat16_bits(np.array([1.5], "f4"))[0])) == 1.5


def test_the_only_fitting_array_needs_no_name(tmp_path: Path) -> None:
    x = rows(9, 3)
    np.savez(tmp_path / "x.npz", image=x, labels=np.arange(9), logit_scale=np.float32(100))
    safetensors.numpy.save_file({"image": x, "scale": np.ones(3, "f4")}, tmp_path / "x.safetensors")
    save_parquet(tmp_path / "x.parquet", x)
    for name in ("x.npz", "x.safetensors", "x.parquet"):
        same(io.open_rows(tmp_path / name).read(), x)


def test_names_are_short(tmp_path: Path) -> None:
    x = rows(9, 3)
    np.savez(tmp_path / "images.npz", vec=x)
    np.save(tmp_path / "v1.5.npy", x)
    assert io.open_rows(tmp_path / "images.npz").name == "images"
    assert io.open_rows(f"{tmp_path}/images.npz:vec").name == "images:vec"
    assert io.open_rows(tmp_path / "v1.5.npy").name == "v1.5"
    assert io.open_rows(f"{tmp_path}/v1.5.npy").spec == f"{tmp_path}/v1.5.npy"


def test_a_colon_or_bracket_in_a_name_that_exists_is_honoured(tmp_path: Path) -> None:
    x = rows(9, 3)
    np.save(tmp_path / "a:b.npy", x)
    np.save(tmp_path / "a[1].npy", x + 1)
    np.savez(tmp_path / "c:d.npz", **{"e:f": x + 2, "g": x})
    same(io.open_rows(tmp_path / "a:b.npy").read(), x)
    same(io.open_rows(tmp_path / "a[1].npy").read(), x + 1)
    same(io.open_rows(f"{tmp_path}/c:d.npz:e:f").read(), x + 2)


# ---------------------------------------------------------------- shards


@pytest.mark.parametrize("form", ["npy", "npz", "safetensors", "parquet"])
@pytest.mark.parametrize("how", ["folder", "glob"])
def test_shards_equal_their_concatenation(tmp_path: Path, form: str, how: str) -> None:
    lengths = [7, 1, 0, 30, 13, 5, 5, 5, 5, 5, 5, 2]  # shard_10 and shard_11 sort naturally
    x = rows(sum(lengths), 4)
    at = 0
    for i, n in enumerate(lengths):
        part, path = x[at : at + n], tmp_path / f"shard_{i}.{form}"
        at += n
        if form == "npy":
            np.save(path, part)
        elif form == "npz":
            np.savez(path, vec=part, other=part)
        elif form == "safetensors":
            safetensors.numpy.save_file({"vec": part, "other": part}, path)
        else:
            save_parquet(path, part, "list")
    (tmp_path / "README.md").write_text("about these shards")
    (tmp_path / f".hidden.{form}").write_text("not a shard")
    spec = f"{tmp_path}/" if how == "folder" else f"{tmp_path}/shard_*.{form}"
    source = io.open_rows(spec if form == "npy" else f"{spec}:vec")
    assert source.shard_bounds == [0, *np.cumsum(lengths).tolist()]
    assert source.rows == len(x)
    same(source.read(), x)
    for size in (1, 6, 8, 1000):
        same(joined(source, size), x)
    same(joined(source, 4, 6, 40), x[6:40])
    wanted = np.random.default_rng(3).integers(0, len(x), 50)
    same(source.take(wanted), x[wanted])


def test_shards_of_two_number_formats_get_the_wider(tmp_path: Path) -> None:
    np.save(tmp_path / "1.npy", rows(3, 2, "float16"))
    np.save(tmp_path / "2.npy", rows(3, 2, "float32"))
    source = io.open_rows(tmp_path)
    assert source.dtype == "float32"
    assert {b.dtype.name for b in source.blocks(2)} == {"float32"}
    assert source.take([0, 5]).dtype == np.float32


def test_shards_may_lie_in_folders_below(tmp_path: Path) -> None:
    for i in (2, 10, 1):
        (tmp_path / f"part{i}").mkdir()
        np.save(tmp_path / f"part{i}" / "x.npy", np.full((1, 2), i, "f4"))
    assert io.open_rows(f"{tmp_path}/**/*.npy").read()[:, 0].tolist() == [1, 2, 10]


# ---------------------------------------------------------------- bad input


def raw_npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def raw_tensors(header: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + data


def npy_bytes(array: np.ndarray) -> bytes:
    return raw_npy(
        str({"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}),
        array.tobytes(),
    )


def put(name: str, content: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return str(folder / name)

    return make


def saved(array: np.ndarray) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        np.save(folder / "x.npy", array, allow_pickle=array.dtype.hasobject)
        return str(folder / "x.npy")

    return make


def cut(form: str, keep: float) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        spec = save_any(folder, form, rows(300, 16))
        path = Path(spec.removesuffix(":vec"))
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        return spec

    return make


def keyed(name: str, **arrays: np.ndarray) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        if name.startswith("x.npz"):
            np.savez(folder / "x.npz", allow_pickle=True, **arrays)
        else:
            safetensors.numpy.save_file(arrays, folder / "x.safetensors")
        return f"{folder}/{name}"

    return make


def columns(spec: str, **given_columns: Any) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        pq.write_table(pa.table(given_columns), folder / "x.parquet")
        return f"{folder}/{spec}"

    return make


def lists(values: list[Any], type_: Any = None) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        save_lists(folder / "x.parquet", values, type_)
        return f"{folder}/x.parquet:vec"

    return make


def shards(spec: str, **parts: np.ndarray) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "d").mkdir()
        for name, part in parts.items():
            np.save(folder / "d" / f"{name}.npy", part)
        return f"{folder}/{spec}"

    return make


def mixed(folder: Path) -> str:
    np.save(folder / "a.npy", rows(3, 2))
    np.savez(folder / "b.npz", rows(3, 2))
    return str(folder)


def too_wide(folder: Path) -> str:
    np.save(folder / "a.npy", rows(3, 2))
    (folder / "a.txt").write_text("notes")
    return f"{folder}/a.*"


def flipped(form: str, share: float) -> Callable[[Path], str]:
    """Damage 64 bytes in the middle of a file whose data is checked."""

    def make(folder: Path) -> str:
        spec = save_any(folder, form, rows(3000, 16))
        path = Path(spec.removesuffix(":vec"))
        content = bytearray(path.read_bytes())
        at = int(len(content) * share)
        content[at : at + 64] = bytes(b ^ 255 for b in content[at : at + 64])
        path.write_bytes(bytes(content))
        return spec

    return make


def damaged_page(folder: Path) -> str:
    """A Parquet file whose index is sound and whose first page of vectors is not."""
    spec = save_any(folder, "parquet-list", rows(3000, 16))
    path = Path(spec.removesuffix(":vec"))
    chunk = pq.ParquetFile(path).metadata.row_group(3).column(1)
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[at : at + 16] = b"\xff" * 16
    path.write_bytes(bytes(content))
    return spec


def one_bit(form: str) -> Callable[[Path], str]:
    """One bit of the data of an archive is another."""

    def make(folder: Path) -> str:
        spec = save_any(folder, form, rows(300, 16))
        path = Path(spec.removesuffix(":vec"))
        content = bytearray(path.read_bytes())
        content[9000] ^= 64
        path.write_bytes(content)
        return spec

    return make


def long_claim(folder: Path) -> str:
    """An archive of little more than 1 kB whose index and header claim a billion rows."""
    path, said = folder / "x.npz", "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 1)}"
    member = raw_npy(said % 10**9) + bytes(10**6)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vec.npy", member)
    content, claimed = path.read_bytes(), len(raw_npy(said % 10**9)) + 4 * 10**9
    path.write_bytes(content.replace(*(struct.pack("<I", n) for n in (len(member), claimed))))
    return f"{path}:vec"


def twice_named(folder: Path) -> str:
    table = pa.table([[[1.0, 2.0]], [[3.0, 4.0]]], names=["vec", "vec"])
    pq.write_table(table, folder / "x.parquet")
    return f"{folder}/x.parquet:vec"


def tensor(name: str, begin: int, end: int) -> str:
    entry = {"dtype": "F32", "shape": [(end - begin) // 4, 1], "data_offsets": [begin, end]}
    return f'"{name}":{json.dumps(entry)}'


NEW_ARROW = int(pa.__version__.split(".")[0]) > 25
"""Older Arrow cannot read a missing list of fixed size."""
F4 = np.ones((3, 2), "f4")
BAD: dict[type[IsthmusError], list[tuple[Callable[[Path], str], str, str]]] = {
    FileError: [
        (lambda p: "", "empty-name", ""),
        (lambda p: f"{p}/no.npy", "no-such-file", "no.npy"),
        (lambda p: f"{p}/no.npz:k", "no-such-file", "no.npz';"),
        (lambda p: f"{p}/*.npy", "no-match", "*.npy"),
        (lambda p: f"{p}/*.npz:k", "no-match", "*.npz:k"),
        (lambda p: str(p), "no-shards", ".safetensors"),
        (put("x.docx", b"PK\3\4"), "unknown-suffix", "'.docx'"),
        (put("x", b"1"), "unknown-suffix", "''"),
        (keyed("x.npz:", k=F4), "empty-key", "x.npz:'"),
        (lambda p: saved(F4)(p) + ":k", "no-keys", "key 'k'"),
        (keyed("x.npz:z", a=F4, b=F4), "unknown-key", "'a' (float32"),
        (keyed("x.npz", a=F4, b=F4), "ambiguous-key", "'a' (float32 (3, 2)), 'b'"),
        (keyed("x.npz", a=np.arange(3), b=np.ones(2)), "no-key", "'a' (int64 (3,))"),
        (keyed("x.safetensors:z", a=F4), "unknown-key", "key 'z'"),
        (keyed("x.safetensors", a=F4, b=F4), "ambiguous-key", "2 keys"),
        (put("x.safetensors", raw_tensors("{}")), "no-key", "nothing"),
        (columns("x.parquet:z", a=[1]), "unknown-column", "'a' (int64)"),
        (columns("x.parquet", a=[[1.0]], b=[[1.0]]), "ambiguous-column", "FILE:COLUMN"),
        (columns("x.parquet"), "no-column", "nothing"),
        (twice_named, "duplicate-column", "2 columns with the name 'vec'"),
        (mixed, "mixed-formats", ".npy and .npz"),
        (shards("d", image_emb=F4, text_emb=F4), "mixed-stems", "d/image_emb.npy'"),
        (shards("d", img_emb_0=F4, text_emb_0=F4), "mixed-stems", "img_emb_0.npy, text_emb_0.npy"),
        (lambda p: "https://example.org/a.npy", "is-a-url", "download"),
        (lambda p: "ftp://bucket/a.npy", "is-a-url", "ftp://"),
        (lambda p: "/dev/null", "not-a-file", "a device"),
        (lambda p: (os.mkfifo(p / "x.npy"), f"{p}/x.npy")[1], "not-a-file", "a pipe"),
        (too_wide, "not-rows", "a.txt"),
        (put("x.parquet", b"PARE" + bytes(20)), "encrypted-file", ""),
    ],
    CorruptFile: [
        (put("x.npy", b""), "empty-file", "(0 bytes)"),
        (put("x.npz", b""), "empty-file", ""),
        (put("x.safetensors", b""), "empty-file", ""),
        (put("x.parquet", b""), "empty-file", ""),
        (put("x.npy", b"\n<!DOCTYPE html><p>404"), "wrong-kind", "an HTML"),
        (put("x.parquet", b"<html>" * 9), "wrong-kind", "a Parquet file: it looks like an HTML"),
        (put("x.npy", pickle.dumps([1])), "wrong-kind", "a Python pickle"),
        (put("x.npy", b"PK\3\4" + b"0" * 99), "wrong-kind", "a zip archive"),
        (put("x.npy", b"0.1,0.2\n0.3,0.4\n"), "wrong-kind", "plain text"),
        (put("x.npy", b"version https://git-lfs.github.com"), "wrong-kind", "a Git LFS pointer"),
        (put("x.npy", bytes(99)), "wrong-kind", "first bytes 00 00"),
        (put("x.npz", npy_bytes(F4)), "wrong-kind", "an .npz archive: it looks like a NumPy"),
        (
            lambda p: (zip_of(p / "x.npz", {"a.txt": b"1"}), f"{p}/x.npz")[1],
            "no-key",
            "zip archive",
        ),
        (
            lambda p: (zip_of(p / "x.npz", {"a.npy": b"hello"}), f"{p}/x.npz")[1],
            "wrong-kind",
            "array 'a'",
        ),
        (put("x.safetensors", npy_bytes(F4)), "wrong-kind", "a NumPy .npy file"),
        (put("x.parquet", raw_tensors("{} ")), "wrong-kind", "a safetensors file"),
        (put("x.npy", b"\x93NUM"), "cut-short", "inside its header"),
        (put("x.npy", npy_bytes(F4)[:50]), "cut-short", "inside its header"),
        (cut("npy", 0.5), "cut-short", "of the 19200 bytes"),
        (cut("npy-fortran", 0.9), "cut-short", "19200"),
        (put("x.npy", npy_bytes(F4) * 2), "longer-than-promised", "bytes more than the 24"),
        (put("x.npy", raw_npy("{}", version=b"\x07\x00")), "unknown-version", "7.0"),
        (put("x.npy", raw_npy("{'descr': ")), "damaged-file", ".npy header"),
        (put("x.npy", raw_npy("{'a': 1}")), "damaged-file", ".npy header"),
        (
            put("x.npy", raw_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 2)}")),
            "damaged-file",
            "(-3, 2)",
        ),
        (cut("npz", 0.5), "damaged-file", "zip archive"),
        (cut("npz-deflated", 0.9), "damaged-file", "zip archive"),
        (flipped("npz-deflated", 0.5), "damaged-file", "zip archive"),
        (one_bit("npz"), "damaged-file", "zip archive"),
        (one_bit("npz-fortran"), "damaged-file", "zip archive"),
        (one_bit("npz-deflated"), "damaged-file", "zip archive"),
        (long_claim, "damaged-file", "zip archive"),
        *(
            (put("x.safetensors", raw_tensors(text, bytes(length))), "damaged-file", "header")
            for text, length in (
                ("{" + tensor("vec", 0, 8) + "}", 9),  # bytes left over
                ("{" + tensor("vec", 4, 8) + "}", 8),  # a hole before
                ("{" + tensor("vec", 0, 8) + "," + tensor("b", 12, 16) + "}", 16),  # between
                ("{" + tensor("vec", 0, 8) + "," + tensor("b", 4, 12) + "}", 12),  # an overlap
                ("{" + tensor("vec", 0, 8) + "," + tensor("vec", 0, 8) + "}", 8),  # twice
                ("{" + tensor("vec", 0, 8) + ',"n":{"dtype":"F32","shape":[NaN]}}', 8),
            )
        ),
        (cut("safetensors", 0.003), "cut-short", "of its header"),
        (cut("safetensors", 0.5), "cut-short", "of the 19224 bytes"),
        (put("x.safetensors", raw_tensors("{nonsense")), "damaged-file", "safetensors header"),
        (put("x.safetensors", raw_tensors('{"a":[1,2]}')), "damaged-file", "safetensors header"),
        (
            put(
                "x.safetensors",
                raw_tensors('{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,8]}}', bytes(8)),
            ),
            "damaged-file",
            "safetensors header",
        ),
        (cut("parquet-fixed", 0.7), "cut-short", "index"),
        (put("x.parquet", b"PAR1PAR1"), "cut-short", "index"),
        (put("x.parquet", b"PAR1" + b"\xff" * 40 + b"PAR1"), "damaged-file", "Parquet file"),
        (damaged_page, "damaged-file", "Parquet file"),
    ],
    ShapeError: [
        (saved(np.float32(1)), "wrong-axes", "shape ()"),
        (saved(np.ones(4)), "wrong-axes", "rows[None, :]"),
        (saved(np.ones((4, 1, 3))), "wrong-axes", "rows[:, 0, :]"),
        (saved(np.ones((1, 4, 3))), "wrong-axes", "pass rows[0]"),
        (saved(np.ones((2, 4, 3))), "wrong-axes", "rows[0] and rows[1]"),
        (saved(np.ones((2, 4, 3, 1))), "wrong-axes", "(2, 4, 3, 1)"),
        (saved(np.ones((4, 0))), "no-columns", "(4, 0)"),
        (shards("d", x1=F4, x2=np.ones((2, 5))), "unequal-dimensions", "has 2 and '"),
        (lists([[1, 2], [1, 2], [1]]), "unequal-dimensions", "row 2 holds 1 numbers"),
        (lists([]), "no-dimension", ""),
        (lists([[], []]), "no-columns", "(2, 0)"),
    ],
    DtypeError: [
        (saved(np.ones((3, 2), int)), "not-floats", "integers (int64)"),
        (saved(np.ones((3, 2), bool)), "not-floats", "booleans"),
        (saved(np.ones((3, 2), complex)), "not-floats", "complex"),
        (saved(np.ones((3, 2), object)), "not-floats", "nothing is unpickled"),
        (keyed("x.npz:a", a=np.ones((3, 2), object)), "not-floats", "Python objects"),
        (saved(np.ones(3, [("x", "f4")])), "not-floats", "named fields (x)"),
        (saved(np.array([["a"]])), "not-floats", "words (<U1)"),
        (saved(np.array({"x": 1})), "not-floats", "numpy.load(FILE, allow_pickle=True).item()"),
        (saved(np.ones((3, 2), np.longdouble)), "not-floats", "convert with"),
        (keyed("x.safetensors", a=np.ones((3, 2), "i4")), "not-floats", "integers"),
        (
            put(
                "x.safetensors",
                raw_tensors(
                    '{"a":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]}}', bytes(4)
                ),
            ),
            "not-floats",
            "float8_e4m3",
        ),
        (columns("x.parquet:a", a=[1.0]), "not-floats", "holds double"),
        (lists([[1]], pa.list_(pa.int32())), "not-floats", "int32"),
    ],
    ValuesError: [
        (lists([[1, 2], None]), "null-value", "row 1"),
        (lists([None, [1, 2]]), "null-value", "row 0"),
        *[(lists([[1, 2], None], pa.list_(pa.float32(), 2)), "null-value", "row 1")] * NEW_ARROW,
        (lists([[1, 2], [3, None]]), "null-value", "in the vector of row 1"),
    ],
}


@pytest.mark.parametrize(
    ("make", "kind", "code", "fact"),
    [(b[0], kind, *b[1:]) for kind, table in BAD.items() for b in table],
)
def test_bad_input_is_refused_in_one_sentence(
    tmp_path: Path, make: Callable[[Path], str], kind: type[IsthmusError], code: str, fact: str
) -> None:
    spec = make(tmp_path)
    with refused(code, fact, kind=kind) as caught:
        list(io.open_rows(spec).blocks(7))
    text = str(caught.value)
    for word in ("\n", "Traceback", "pyarrow", "Arrow", "zlib", "Errno"):
        assert word not in text


def test_reading_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npy"
    np.save(path, F4)
    real = open

    def deny(file: Any, *args: Any, **kwargs: Any) -> Any:
        if str(file) == str(path):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr("builtins.open", deny)
    with refused("no-permission", "may not be read by this user"):
        io.open_rows(path)


def test_a_file_that_shrinks_after_opening(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, rows(100, 4))
    source = io.open_rows(path)
    path.write_bytes(path.read_bytes()[:500])
    with refused("cut-short", "too early while it was read"):
        source.read()
    with refused("cut-short", "too early while it was read"):
        source.take([99])
    path.unlink()
    with refused("no-such-file", "no file or folder"):
        source.read()
    save_parquet(tmp_path / "p.parquet", rows(100, 4))
    parquet = io.open_rows(tmp_path / "p.parquet")
    save_parquet(tmp_path / "p.parquet", rows(99, 4))
    with refused("file-changed", "had 100 rows, now 99"):
        parquet.read()
    save_parquet(tmp_path / "p.parquet", rows(100, 4), group=7)
    with refused("cut-short", "rows end at 7 where its index promises 100"):
        parquet.read()


def test_arrays_are_refused_like_files() -> None:
    with refused("wrong-axes", "the array 'array' has shape (3,)"):
        io.open_rows(np.ones(3))
    with refused("not-floats", "integers"):
        io.open_rows(np.ones((3, 2), int))
    with refused("not-an-array", "is a list"):
        io.ArraySource([[1.0]])  # type: ignore[arg-type]
    with refused("masked-values", "masked"):
        io.open_rows(np.ma.masked_greater(np.ones((3, 2)), 0.5))


def test_importing_loads_numpy_only() -> None:
    code = (
        "import sys, isthmus.data\n"
        "print([m for m in ('pyarrow', 'safetensors', 'scipy', 'torch') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("suffix", ["npy", "safetensors", "parquet"])
def test_rows_written_are_rows_read(tmp_path: Path, suffix: str, dtype: str) -> None:
    x = rows(101, 6, dtype)
    path = tmp_path / "new" / "folder" / f"x.{suffix}"
    with io.RowWriter(path, 6, dtype) as writer:
        for at in range(0, 101, 13):
            writer.write(x[at : at + 13])
        writer.write(x[:0])
    same(io.open_rows(path).read(), x)
    io.write_rows(path, np.asfortranarray(x))
    same(io.open_rows(path).read(), x)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    if suffix == "npy":
        same(np.load(path), x)
    elif suffix == "safetensors":
        same(safetensors.numpy.load_file(path)["rows"], x)
    else:
        field = pq.read_schema(path).field("embedding")
        assert field.type == pa.list_(
            pa.field("element", pa.from_numpy_dtype(x.dtype), nullable=False), 6
        )
        assert not field.nullable


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_bytes_do_not_depend_on_blocks_or_on_knowing_the_rows(tmp_path: Path, suffix: str) -> None:
    x = rows(50, 3)
    io.write_rows(tmp_path / f"a.{suffix}", x)
    with io.RowWriter(tmp_path / f"b.{suffix}", 3) as writer:
        for row in x:
            writer.write(row[None])
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "parquet"])
def test_no_rows_at_all_is_a_file_of_no_rows(tmp_path: Path, suffix: str) -> None:
    with io.RowWriter(tmp_path / f"x.{suffix}", 4):
        pass
    source = io.open_rows(tmp_path / f"x.{suffix}")
    assert (source.rows, source.dim) == (0, 4)
    assert list(source.blocks()) == []
    assert source.read().shape == (0, 4)


def test_keys_columns_and_extra_columns(tmp_path: Path) -> None:
    x, bias = rows(70, 3), np.arange(70, dtype="f8")
    with io.RowWriter(tmp_path / "x.safetensors", 3, key="closed") as writer:
        writer.write(x)
    same(io.open_rows(f"{tmp_path}/x.safetensors:closed").read(), x)
    with io.RowWriter(tmp_path / "x.parquet", 3, column="closed") as writer:
        writer.write(x[:30], extra={"bias": bias[:30]})
        writer.write(x[30:], extra={"bias": bias[30:]})
    same(io.open_rows(f"{tmp_path}/x.parquet:closed").read(), x)
    same(pq.read_table(tmp_path / "x.parquet")["bias"].to_numpy(), bias)


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "parquet"])
def test_a_buffer_may_be_reused_between_writes(tmp_path: Path, suffix: str) -> None:
    x = rows(30, 3)
    buffer = np.empty((10, 3), "f4")
    with io.RowWriter(tmp_path / f"x.{suffix}", 3) as writer:
        for at in (0, 10, 20):
            buffer[:] = x[at : at + 10]
            writer.write(buffer)
    same(io.open_rows(tmp_path / f"x.{suffix}").read(), x)


def test_parquet_is_written_in_row_groups_of_bounded_size(tmp_path: Path) -> None:
    x = rows(20_000, 512)  # 41 MB
    io.write_rows(tmp_path / "x.parquet", x)
    meta = pq.ParquetFile(tmp_path / "x.parquet").metadata
    assert meta.num_row_groups == 2
    same(io.open_rows(tmp_path / "x.parquet").take([19_999, 3]), x[[19_999, 3]])


def test_writing_casts_and_says_what_does_not_fit(tmp_path: Path) -> None:
    io.write_rows(tmp_path / "x.npy", rows(5, 2, "float64"), dtype="float32")
    same(io.open_rows(tmp_path / "x.npy").read(), rows(5, 2, "float64").astype("f4"))
    bits = bfloat16_bits(rows(5, 2)).view("V2")
    io.write_rows(tmp_path / "x.npy", bits)
    same(io.open_rows(tmp_path / "x.npy").read(), io.open_rows(bits).read())
    with (
        refused("too-large-for-dtype", "row 5 is beyond float16"),
        io.RowWriter(tmp_path / "y.npy", 2, "float16") as writer,
    ):
        writer.write(np.array([[1, 2]] * 3, "f4"))
        writer.write(np.array([[1, np.inf], [np.nan, 2], [1, 1e6]], "f4"))
    assert not (tmp_path / "y.npy").exists()


def write_once(path: Path, block: Any, dim: int = 2, **options: Any) -> None:
    with io.RowWriter(path, dim, **options) as writer:
        writer.write(block)


@pytest.mark.parametrize(
    ("call", "code", "fact"),
    [
        (lambda p: write_once(p / "x.csv", F4), "unknown-suffix", "x.csv"),
        (lambda p: write_once(p / "x.npy", F4, dtype="int8"), "unknown-dtype", "int8"),
        (lambda p: write_once(p / "x.npy", F4, key="k"), "no-keys", "'k'"),
        (lambda p: write_once(p / "x.npy", F4, dim=0), "no-columns", "dimension 0"),
        (lambda p: write_once(p / "x.npy", F4, dim=3), "unequal-dimensions", "2 dimensions"),
        (lambda p: write_once(p / "x.npy", F4[0]), "wrong-axes", "(2,)"),
        (lambda p: write_once(p / "x.npy", F4.astype(int)), "not-floats", "integers"),
        (lambda p: write_once(p / "x.npy", F4, rows=4), "wrong-count", "3 rows, not 4"),
        (lambda p: write_once(p / "x.parquet", F4, rows=4), "wrong-count", "3 rows, not 4"),
        (lambda p: io.write_rows(p, F4), "unknown-suffix", ".parquet"),
        (lambda p: io.write_json(p, {}), "is-a-folder", ""),
    ],
)
def test_writing_refuses_in_one_sentence(
    tmp_path: Path, call: Callable[[Path], None], code: str, fact: str
) -> None:
    with refused(code, fact):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


BIAS = np.ones(3)


@pytest.mark.parametrize(
    ("name", "extras", "code", "fact"),
    [
        ("x.npy", [{"bias": BIAS}], "no-further-columns", "got bias"),
        ("x.parquet", [{"bias": BIAS[:2]}], "unequal-lengths", "'bias' has shape (2,)"),
        ("x.parquet", [{"bias": BIAS}, {}], "columns-differ", "[], earlier ones ['bias']"),
        ("x.parquet", [{"b": BIAS}, {"b": np.array(["x"] * 3)}], "columns-differ", "number format"),
        ("x.parquet", [{"embedding": BIAS}], "name-twice", "'embedding'"),
    ],
)
def test_extra_columns_that_do_not_fit(
    tmp_path: Path,
    name: str,
    extras: list[dict[str, Any]],
    code: str,
    fact: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isthmus.data.writer._GROUP_BYTES", 0)  # every block is a row group
    with refused(code, fact), io.RowWriter(tmp_path / name, 2) as writer:
        for extra in extras:
            writer.write(F4, extra=extra)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_is_a_context_manager(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="inside 'with"):
        io.RowWriter(tmp_path / "x.npy", 2).write(F4)


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "parquet"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    io.write_rows(path, rows(9, 2))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), io.RowWriter(path, 2) as writer:  # noqa: PT012
        writer.write(rows(5, 2, seed=1))
        assert path.read_bytes() == before
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path(tmp_path: Path) -> None:
    final = tmp_path / "a" / "b" / "x.tar.gz"
    with io.atomic_path(final) as temporary:
        assert temporary.parent == final.parent
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".gz"
        temporary.write_text("new")
        assert not final.exists()
    assert final.read_text() == "new"
    with pytest.raises(ZeroDivisionError), io.atomic_path(final) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise ZeroDivisionError
    assert final.read_text() == "new"
    with pytest.raises(ZeroDivisionError), io.atomic_path(final):
        raise ZeroDivisionError
    assert [p.name for p in final.parent.iterdir()] == ["x.tar.gz"]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links and modes are POSIX")
def test_atomic_path_follows_links_and_honours_the_umask(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    io.write_json(tmp_path / "link.json", {"a": 1})
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == {"a": 1}
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refused("file-system", "could not be written"):
        io.write_json(tmp_path / "file" / "x.json", {})


def test_write_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    io.write_json(
        path,
        {
            "z": np.float32(0.5),
            "a": float("nan"),
            "inf": [np.inf, -np.float64("inf")],
            "n": np.int64(3),
            "b": np.bool_(True),
            "arr": np.array([[1.0, np.nan]]),
            "tuple": (1, None, "é"),
            3: Path("p"),
        },
    )
    text = path.read_text(encoding="utf-8")
    assert "é" in text
    assert text.endswith("}\n")
    got = json.loads(text)
    assert list(got) == ["z", "a", "inf", "n", "b", "arr", "tuple", "3"]
    assert got == {
        "z": 0.5,
        "a": None,
        "inf": [None, None],
        "n": 3,
        "b": True,
        "arr": [[1.0, None]],
        "tuple": [1, None, "é"],
        "3": "p",
    }
    for bad in ({"s": {1}}, {(1,): 2}, {"c": 1j}):
        with pytest.raises(TypeError):
            io.write_json(path, bad)
    assert json.loads(path.read_text(encoding="utf-8")) == got


# ---------------------------------------------------------------- tensors


def some_tensors() -> dict[str, np.ndarray]:
    return {
        "mean": rows(1, 5, "float64")[0],
        "basis": np.asfortranarray(rows(5, 2)),
        "half": rows(3, 3, "float16"),
        "count": np.array(7, np.int64),
        "flags": np.array([True, False, True]),
        "none": np.empty((0, 4), "f4"),
        "big": np.arange(3, dtype=">i4"),
        "bytes": np.arange(3, dtype=np.uint8),
    }


def test_tensors_round_trip_and_the_library_agrees(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    meta = {"kind": "closer", "note": 'größer\n"quoted"', "a": "1"}
    io.save_tensors(path, some_tensors(), meta)
    arrays, metadata = io.load_tensors(path)
    theirs = safetensors.numpy.load_file(path)
    assert metadata == meta
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == meta
    assert set(arrays) == set(theirs) == set(some_tensors())
    for key, value in some_tensors().items():
        np.testing.assert_array_equal(arrays[key], value)
        np.testing.assert_array_equal(theirs[key], value)
        assert arrays[key].dtype == value.dtype.newbyteorder("=")
        assert arrays[key].shape == value.shape
    safetensors.numpy.save_file(theirs, tmp_path / "theirs.safetensors", {"x": "y"})
    again, metadata = io.load_tensors(tmp_path / "theirs.safetensors")
    assert metadata == {"x": "y"}
    for key, value in arrays.items():
        np.testing.assert_array_equal(again[key], value)


def test_tensors_have_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    arrays, meta = some_tensors(), dict.fromkeys("hcafbegd", "1")
    io.save_tensors(tmp_path / "1.safetensors", arrays, meta)
    io.save_tensors(
        tmp_path / "2.safetensors", dict(reversed(arrays.items())), dict(reversed(meta.items()))
    )
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_tensors_that_cannot_be_stored(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    for arrays, meta, code, fact in (
        ({"a": np.array(["x"])}, {}, "unknown-dtype", "'a' holds <U1"),
        ({"a": np.array([None])}, {}, "unknown-dtype", "object"),
        ({"__metadata__": F4}, {}, "reserved-name", "__metadata__"),
        ({"a": F4}, {"n": 3}, "metadata-not-text", "'n' is a int"),
    ):
        with refused(code, fact, kind=DtypeError):
            io.save_tensors(path, arrays, meta)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    with refused("no-such-file", "no file or folder"):
        io.load_tensors(path)
    put("t.safetensors", b"hello world, this is text")(tmp_path)
    with refused("wrong-kind", "not a safetensors file: it looks like plain text"):
        io.load_tensors(path)


def test_one_damaged_array_of_an_archive_leaves_the_others(tmp_path: Path) -> None:
    members = {"vec.npy": npy_bytes(F4), "bad.npy": b"no header"}
    zip_of(tmp_path / "x.npz", members)
    same(io.open_rows(f"{tmp_path}/x.npz:vec").read(), F4)
    with refused("wrong-kind", "array 'bad'"):
        io.open_rows(f"{tmp_path}/x.npz:bad")


# ---------------------------------------------------------------- labels and relevance


def test_labels_from_every_format(tmp_path: Path) -> None:
    want = np.array([3, 0, 2, 2, -1])
    np.save(tmp_path / "l.npy", want.astype("i2"))
    np.save(tmp_path / "u.npy", (want + 1).astype("u8"))
    np.savez(tmp_path / "l.npz", labels=want, vec=rows(5, 2))
    (tmp_path / "l.txt").write_text("3\n0\n2\n2\n-1\n\n")
    (tmp_path / "l.csv").write_text("\ufefflabel\r\n3\r\n0\r\n 2\r\n2\r\n-1", encoding="utf-8")
    pq.write_table(
        pa.table({"y": pa.array(want, pa.int16()), "t": list("abcde")}), tmp_path / "l.parquet"
    )
    for name in ("l.npy", "l.npz", "l.npz:labels", "l.txt", "l.csv", "l.parquet", "l.parquet:y"):
        same(io.read_labels(f"{tmp_path}/{name}"), want)
    same(io.read_labels(tmp_path / "u.npy"), want + 1)


def test_relevance_from_every_format(tmp_path: Path) -> None:
    want = np.array([[0, 3], [0, 1], [2, 2]])
    np.save(tmp_path / "r.npy", np.asfortranarray(want.astype("u4")))
    (tmp_path / "r.csv").write_text("query, candidate\n0,3\n0, 1\n2,2\n")
    (tmp_path / "plain.csv").write_text("0,3\n0,1\n2,2")
    (tmp_path / "r.tsv").write_text("0\t3\n0\t1\n2\t2\n")
    (tmp_path / "r.txt").write_text("0 3\n0  1\n2 2\n")
    table = {"q": want[:, 0], "note": list("xyz"), "c": want[:, 1]}
    pq.write_table(pa.table(table), tmp_path / "r.parquet")
    pq.write_table(pa.table({**table, "more": want[:, 0]}), tmp_path / "three.parquet")
    for name in ("r.npy", "r.csv", "plain.csv", "r.tsv", "r.txt", "r.parquet", "three.parquet:q,c"):
        same(io.read_relevance(f"{tmp_path}/{name}"), want)


@pytest.mark.parametrize(
    ("make", "code", "fact"),
    [
        (put("l.txt", b"1\n2\nx\n"), "bad-line", "'x' in line 3"),
        (put("l.txt", b"label\n1\n"), "bad-line", "'label' in line 1"),
        (put("l.csv", b"1\n2.0\n"), "bad-line", "'2.0' in line 2"),
        (put("l.csv", b"1.5\n2\n"), "bad-line", "'1.5' in line 1"),
        (put("l.csv", b'""\n2\n'), "bad-line", "in line 1"),
        (put("l.csv", b"nan\n2\n"), "bad-line", "'nan' in line 1"),
        (put("l.csv", b"1,2\n"), "bad-line", "one whole number"),
        (put("l.csv", b"99999999999999999999\n1"), "bad-line", "in line 1"),
        (put("l.txt", b"9999999999999999999\n"), "beyond-int64", "int64 in line 1"),
        (put("l.txt", b"\n"), "no-numbers", "holds no number"),
        (put("l.txt", b"\xff\xfe\x00"), "not-utf8", "no text file in UTF-8"),
        (put("l.txt", b"1\x1c2\n3\n"), "bad-line", "in line 1"),
        (put("l.txt", "1\u20282\n".encode()), "bad-line", "in line 1"),
        (lambda p: (os.mkfifo(p / "l.txt"), f"{p}/l.txt")[1], "not-a-file", "a pipe"),
        (put("l.json", b"[1]"), "unknown-suffix", "suffix '.json'"),
        (lambda p: f"{p}/no.txt", "no-such-file", "no file or folder"),
        (lambda p: f"{p}", "no-shards", "has no shards"),
        (shards("d", a=F4), "not-one-file", "is a folder or a pattern"),
        (lambda p: put("l.txt", b"1")(p) + ":y", "no-keys", "has no keys"),
        (saved(np.ones(3)), "labels-not-integers", "convert with .astype(numpy.int64)"),
        (saved(np.ones(3, "V2")), "labels-not-integers", "holds bfloat16"),
        (saved(np.ones((3, 1), int)), "labels-not-integers", "shape (3, 1)"),
        (saved(np.array([1, 2**64 - 1], "u8")), "beyond-int64", "int64 in row 1"),
        (put("l.npy", b"junk"), "wrong-kind", "not a NumPy array"),
        (columns("x.parquet:a", a=[1, None]), "null-value", "null in row 1"),
        (columns("x.parquet:a", a=["b"]), "labels-not-integers", "holds string"),
        (columns("x.parquet", a=[1], b=[1]), "ambiguous-column", "2 columns that could"),
    ],
)
def test_bad_labels(tmp_path: Path, make: Callable[[Path], str], code: str, fact: str) -> None:
    spec = make(tmp_path)
    with refused(code, fact):
        io.read_labels(spec)


@pytest.mark.parametrize(
    ("make", "code", "fact"),
    [
        (put("r.csv", b"q,c\n0,1\n0\n"), "bad-line", "'0' in line 3"),
        (put("r.csv", b"0,1,2\n"), "bad-line", "two whole numbers"),
        (put("r.csv", b"q,c,s\n0,1,2\n"), "bad-line", "'q,c,s' in line 1"),
        (saved(np.ones((3, 3), int)), "labels-not-integers", "shape (3, 3)"),
        (saved(np.ones((0, 2), int)), "no-relevance", "has no rows"),
        (columns("x.parquet", a=[1], b=[1], c=[2]), "ambiguous-column", "FILE:QUERY,CANDIDATE"),
        (columns("x.parquet:a", a=[1]), "unequal-lengths", "names 1 columns"),
        (columns("x.parquet:a,z", a=[1]), "unknown-column", "column 'z'"),
    ],
)
def test_bad_relevance(tmp_path: Path, make: Callable[[Path], str], code: str, fact: str) -> None:
    spec = make(tmp_path)
    with refused(code, fact):
        io.read_relevance(spec)


# ---------------------------------------------------------------- advice that works when followed


def test_shards_with_hashes_in_their_names_are_one_set(tmp_path: Path) -> None:
    for i, word in enumerate(("6f3344faa23e9b0a", "01bc77d5e0a4f2c9", "deadbeefcafe0123")):
        np.save(tmp_path / f"train-{i:05d}-of-00003-{word}.npy", np.full((1, 2), i, "f4"))
    assert io.open_rows(tmp_path).read()[:, 0].tolist() == [0, 1, 2]


def test_shards_are_named_when_they_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(12):
        np.save(tmp_path / f"img_emb_{i}.npy", rows(1, 2))
    with caplog.at_level("INFO", logger="isthmus.data"):
        io.open_rows(tmp_path)
    (record,) = caplog.records
    assert record.message.endswith("as 12 shards: img_emb_0, img_emb_1, …, img_emb_11")


def test_a_pattern_says_which_side_of_a_folder_is_meant(tmp_path: Path) -> None:
    for i in range(2):
        np.save(tmp_path / f"img_emb_{i}.npy", np.full((1, 2), i, "f4"))
        np.save(tmp_path / f"text_emb_{i}.npy", np.full((1, 2), 5 + i, "f4"))
    with refused("mixed-stems", "a pattern in quotes"):
        io.open_rows(tmp_path)
    assert io.open_rows(f"{tmp_path}/img_emb_*.npy").read()[:, 0].tolist() == [0, 1]


def test_names_instead_of_numbers_say_how_to_number_them(tmp_path: Path) -> None:
    candidates, names = ["cat", "dog"], np.array(["dog", "cat", "dog"])
    np.save(tmp_path / "words.npy", names)
    (tmp_path / "words.txt").write_text("dog\ncat\ndog\n")
    for file in ("words.npy", "words.txt"):
        code = "bad-line" if file.endswith(".txt") else "labels-not-integers"
        with refused(code, "[candidate_names.index(name) for name in names]"):
            io.read_labels(tmp_path / file)
    with refused("labels-not-integers", "<U3", "candidate_names.index"):
        checked_labels(names, 3, 2)
    numbers = [candidates.index(name) for name in names]
    assert checked_labels(numbers, 3, 2).tolist() == [1, 0, 1]


def test_matrices_instead_of_columns_say_how_to_list_them(tmp_path: Path) -> None:
    matrix = np.zeros((3, 4), bool)
    matrix[[0, 1, 2], [2, 0, 3]] = True
    np.save(tmp_path / "dense.npy", matrix)
    with refused("labels-not-integers", "numpy.argwhere(matrix > 0)"):
        io.read_relevance(tmp_path / "dense.npy")
    with refused("labels-not-integers", "numpy.argwhere(matrix > 0)"):
        checked_relevance(matrix, 3, 4)
    assert checked_relevance(np.argwhere(matrix > 0), 3, 4).tolist() == [[0, 2], [1, 0], [2, 3]]
    with refused("labels-not-integers", "matrix.argmax(axis=1)"):
        checked_labels(matrix, 3, 4)
    assert checked_labels(matrix.argmax(axis=1), 3, 4).tolist() == [2, 0, 3]


def test_a_dict_in_an_array_says_which_keys_it_has() -> None:
    held = np.array({"x": rows(3, 2), "y": 1}, dtype=object)
    with refused("not-floats", "'x', 'y'", "array.item()[KEY]"):
        checked_rows(held)
    assert checked_rows(held.item()["x"]).shape == (3, 2)


def test_object_rows_of_one_length_can_be_stacked() -> None:
    held = np.empty(3, object)
    held[:] = list(rows(3, 2))
    with refused("not-floats", "numpy.stack(list(array))"):
        checked_rows(held)
    assert checked_rows(np.stack(list(held))).shape == (3, 2)
