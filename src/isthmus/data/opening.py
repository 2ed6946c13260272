"""From what a user typed to a source of rows: files, keys, folders and globs of shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np

from isthmus.data.addresses import address_of, open_store
from isthmus.data.dtypes import is_float
from isthmus.data.file_errors import choose
from isthmus.data.flat import Layout
from isthmus.data.foreign import CONVERT, read_faiss, read_hdf5, read_lance, read_torch
from isthmus.data.ids import FileRows
from isthmus.data.npy import npy_layout, npz_layouts
from isthmus.data.parquet import open_parquet
from isthmus.data.remote import is_remote
from isthmus.data.source import ArraySource, BaseSource, Rows
from isthmus.data.tables import (
    Found,
    one_vector_a_file,
    read_arrow,
    read_csv,
    read_json_lines,
    read_json_rows,
)
from isthmus.data.targets import FORMATS, LOG, READABLE, Target, shards_line, split_spec
from isthmus.data.tensors import tensor_layouts
from isthmus.data.unread import unread
from isthmus.errors import FileError, ShapeError

PICKLES = (".pkl", ".pickle", ".joblib", ".p")
WHOLE: dict[str, Callable[[str, str | None, str], Found]] = {
    "json": read_json_rows,
    "jsonl": read_json_lines,
    "csv": read_csv,
    "arrow": read_arrow,
    "faiss": read_faiss,
    "torch": read_torch,
    "hdf5": read_hdf5,
    "lance": read_lance,
}
"""Formats that are read whole, into memory, when they are opened."""
AWAY = ("json", "jsonl", "csv", "arrow")
"""Those of them that are also read from an address."""


def open_rows(spec: str | os.PathLike[str] | np.ndarray | Rows) -> Rows:
    """Open rows of embeddings; reads headers only.

    ``spec`` is ``FILE.npy``, ``FILE.npz:KEY``, ``FILE.safetensors:KEY``, ``FILE.parquet:COLUMN``,
    another file of ``docs/files.md`` (these are read whole), the address of a store, or a folder
    or glob of such shards in natural order (shard_10 follows shard_9), where ``:KEY`` applies to
    every shard. KEY may be left out where only one array fits. An array becomes an
    :class:`ArraySource`, and a source is returned as it is.

    Raises FileError (missing, unreadable, unknown or ambiguous), CorruptFile (not what its name
    says, or cut short), ShapeError (not two axes), DtypeError (not floats), ValuesError (nulls).
    """
    if isinstance(spec, np.ndarray):
        return ArraySource(spec)
    if isinstance(spec, Rows):
        return spec
    if (address := address_of(spec)) is not None:
        return open_store(address).rows()
    target = split_spec(spec)
    if target.shards is not None:
        if found := one_vector_a_file(target.shards, f"'{target.spec}'"):
            return ArraySource(found[0], target.name, target.spec, found[1])
        return ShardSource(target)
    source = open_file(target.path, target.key, target.spec, target.name)
    if source.dim == 0:
        raise ShapeError(
            "no-dimension",
            f"'{target.spec}' has no rows, and so its lists do not say their dimension",
        )
    return source


def open_file(path: str, key: str | None, spec: str, name: str) -> BaseSource:
    """Open one file by its suffix; see :func:`open_rows` for what is raised."""
    suffix = os.path.splitext(path)[1].lower()
    kind = FORMATS.get(suffix, "")
    if kind == "parquet":
        return open_parquet(path, key, spec, name)
    if kind in WHOLE and kind not in AWAY and is_remote(path):
        raise FileError(
            "not-remote", f"'{path}' is read by a library that needs a file here; download it first"
        )
    if kind in WHOLE:
        rows, ids = WHOLE[kind](path, key, f"'{spec}'")
        return ArraySource(rows, name, spec, ids)
    if suffix in PICKLES:
        raise FileError("pickle", f"'{path}' is a pickle; {CONVERT}")
    if kind == "" and (said := unread(path)):
        raise FileError("unknown-suffix", said)
    return FileRows(open_layout(path, key, spec), spec, name)


def open_layout(path: str, key: str | None, spec: str, floats: bool = True) -> Layout:
    """Find one array of a .npy, .npz or .safetensors file, of whatever shape and number format.

    Where no key is named, the one array that fits is meant: rows of floats, or integers otherwise.
    """
    suffix = os.path.splitext(path)[1].lower()
    what = f"'{spec}'"
    if suffix == ".npy":
        if key is not None:
            raise FileError(
                "no-keys",
                f"{what} asks for the key '{key}', but a .npy file holds one array without a name",
            )
        return npy_layout(path, what)
    if suffix == ".npz":
        layouts = npz_layouts(path, what, key)
    elif suffix == ".safetensors":
        layouts = tensor_layouts(path, what)[0]
    else:
        raise FileError(
            "unknown-suffix", f"'{path}' has the suffix '{suffix}'; expected {READABLE}"
        )
    entries = {k: ("" if _fits(v, floats) else "-") + str(v) for k, v in layouts.items()}
    return layouts[choose(what, f"'{path}'", key, entries, "key")]


def _fits(layout: Layout, floats: bool) -> bool:
    if floats:
        return len(layout.shape) == 2 and is_float(layout.stored)
    return layout.stored.raw.kind in "iu" and layout.stored.name != "bfloat16"


class ShardSource(BaseSource):
    """Shards of one format and dimension, one after another.

    Where number formats differ, blocks have the widest of them.
    """

    def __init__(self, target: Target) -> None:
        shards: list[BaseSource] = []
        for path in target.shards or ():
            spec = path if target.key is None else f"{path}:{target.key}"
            short = os.path.splitext(os.path.basename(path))[0]
            shards.append(open_file(path, target.key, spec, short))
        stems = [shard.name.partition(":")[0] for shard in shards]
        LOG.info("%s", shards_line(target.spec, stems))
        known = [s for s in shards if s.dim]
        if not known:
            raise ShapeError(
                "no-rows", f"'{target.spec}' has {len(shards)} shards without a single row"
            )
        for shard in known:
            if shard.dim != known[0].dim:
                raise ShapeError(
                    "unequal-dimensions",
                    f"'{target.spec}' has shards of different dimensions: '{known[0].spec}' has "
                    f"{known[0].dim} and '{shard.spec}' has {shard.dim}; expected one dimension: "
                    "make the pattern narrower",
                )
        formats = {s.dtype for s in known}
        wide = np.result_type(*(s.native for s in known)).name
        rows, dtype = sum(s.rows for s in shards), formats.pop() if len(formats) == 1 else wide
        super().__init__(target.spec, target.name, rows, known[0].dim, dtype)
        self.shards = tuple(shards)

    @property
    def shard_bounds(self) -> list[int]:
        """Row offsets where shards begin, plus the end."""
        return [0, *np.cumsum([s.rows for s in self.shards]).tolist()]

    @property
    def ids(self) -> np.ndarray | None:
        """Ids of all shards, one after another; None unless every shard has them."""
        found = [shard.ids for shard in self.shards]
        known = [ids for ids in found if ids is not None]
        if len(known) < len(found):
            return None
        if len({ids.dtype.kind for ids in known}) > 1:
            known = [ids.astype(np.str_) for ids in known]
        return np.concatenate(known)

    def pieces(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Pieces of each shard in turn."""
        at = 0
        for shard in self.shards:
            lo, hi = max(start - at, 0), min(stop - at, shard.rows)
            if lo < hi:
                for piece in shard.pieces(size, lo, hi):
                    yield piece.astype(self.native, copy=False)
            at += shard.rows

    def take_sorted(self, wanted: np.ndarray) -> np.ndarray:
        """Rows at increasing indices, shard by shard."""
        out = np.empty((len(wanted), self.dim), self.native)
        cuts = np.searchsorted(wanted, self.shard_bounds)
        for shard, at, lo, hi in zip(self.shards, self.shard_bounds, cuts[:-1], cuts[1:]):
            if lo < hi:
                out[lo:hi] = shard.take_sorted(wanted[lo:hi] - at)
        return out
