"""From what a user typed to a source of rows: files, keys, folders and globs of shards."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from isthmus.data.addresses import address_of, open_store
from isthmus.data.dtypes import is_float
from isthmus.data.file_errors import choose, no_such_file, os_errors
from isthmus.data.flat import Layout
from isthmus.data.foreign import CONVERT, read_faiss, read_hdf5, read_lance, read_torch
from isthmus.data.ids import FileRows
from isthmus.data.npy import npy_layout, npz_layouts
from isthmus.data.parquet import open_parquet
from isthmus.data.remote import (
    RemotePath,
    is_remote,
    local_of,
    remote_files,
    remote_kind,
    remote_path,
)
from isthmus.data.source import ArraySource, BaseSource, Rows
from isthmus.data.tables import (
    Found,
    dataset_files,
    one_vector_a_file,
    read_arrow,
    read_csv,
    read_json_lines,
    read_json_rows,
    single_vectors,
)
from isthmus.data.tensors import tensor_layouts
from isthmus.data.unread import unread
from isthmus.errors import FileError, ShapeError

FORMATS = {
    ".npy": "npy",
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".faiss": "faiss",
    ".index": "faiss",
    ".pt": "torch",
    ".pth": "torch",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".lance": "lance",
}
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
SHARDS = ("npy", "npz", "safetensors", "parquet", "arrow")
"""Formats that shards of rows come in; others in their folder are taken for tables about them."""
_PICKLES = (".pkl", ".pickle", ".joblib", ".p")
_LOG = logging.getLogger("isthmus.data")
_READABLE = ", ".join(sorted(FORMATS))


@dataclass(frozen=True)
class Target:
    """A spec taken apart: one file, or the shards of a folder or glob, and a key if named."""

    spec: str
    name: str
    path: str
    key: str | None
    shards: tuple[str, ...] | None = None


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


def split_spec(spec: str | os.PathLike[str]) -> Target:
    """Take a spec apart. A path that exists as it stands wins over a colon read as a key.

    Raises FileError where nothing exists under that name, or a folder has no shards.
    """
    typed = os.fsdecode(os.fspath(spec))
    if not typed.strip():
        raise FileError(
            "empty-name", "the name of the input is empty; expected a file, a folder or a glob"
        )
    path = local_of(typed)
    if (away := remote_path(path)) is not None:
        return _away(away)
    path = os.path.expanduser(path)
    for head, key in splits(path):
        if head.lower().endswith(".lance") and os.path.isdir(head):
            return _named(typed, head, key, None)
        if os.path.isdir(head):
            return _named(typed, head, key, _in_folder(head, typed))
        if os.path.exists(head):
            if not os.path.isfile(head):
                raise FileError(
                    "not-a-file",
                    f"'{head}' is a pipe or a device; expected a file, which can be read more than "
                    "once: write it to a file first",
                )
            return _named(typed, head, key, None)
        if glob.has_magic(head) and (found := _matching(head, typed)):
            return _named(typed, head, key, found)
    if glob.has_magic(path):
        raise FileError(
            "no-match", f"the pattern '{typed}' matches no file; check the folder and the quotes"
        )
    known = [head for head, _ in splits(path) if os.path.splitext(head)[1].lower() in FORMATS]
    missing = known[0] if known else path
    raise no_such_file(missing)


def _away(typed: RemotePath) -> Target:
    """The same of an address on a network: a file, a folder, or a pattern of files in one."""
    for head, key in splits(typed):
        if key is not None and "/" in key:
            break  # the colon of the scheme
        path = typed.sibling(head)
        folder, _, name = head.rpartition("/")
        if glob.has_magic(name):
            found = remote_files(typed.sibling(folder), name)
            if found:
                return _named(typed, path, key, _one_format(list(found), typed))
            continue
        kind = remote_kind(path)
        if kind == "folder":
            return _named(typed, path, key, _in_folder(path, typed))
        if kind:
            return _named(typed, path, key, None)
    if glob.has_magic(typed):
        raise FileError("no-match", f"the pattern '{typed}' matches no file; check the address")
    raise no_such_file(typed)


def splits(path: str) -> Iterator[tuple[str, str | None]]:
    """The whole path, then it and its key, cut at each colon from the right."""
    yield path, None
    for match in reversed(list(re.finditer(":", path))):
        if match.start():
            yield path[: match.start()], path[match.end() :]


def _named(typed: str, path: str, key: str | None, shards: tuple[str, ...] | None) -> Target:
    if key == "":
        raise FileError(
            "empty-key",
            f"'{typed}' ends in a colon; add the name of a key or column, or leave it out",
        )
    base = os.path.basename(os.path.normpath(path))
    stem, suffix = os.path.splitext(base)
    short = stem if suffix.lower() in FORMATS and not glob.has_magic(base) else base
    return Target(typed, short if key is None else f"{short}:{key}", path, key, shards)


def _by_number(text: str) -> list[tuple[int, int | str]]:
    """Sort key by which shard_10 follows shard_9."""
    parts = re.split(r"([0-9]+)", text)
    return [(1, int(part)) if i % 2 else (0, part) for i, part in enumerate(parts)]


def _in_folder(folder: str, typed: str) -> tuple[str, ...]:
    if (listed := dataset_files(folder)) is not None:
        return listed
    paths: list[str]
    if isinstance(folder, RemotePath):
        paths = list(remote_files(folder))
    else:
        with os_errors(folder):
            paths = [os.path.join(folder, n) for n in os.listdir(folder) if not n.startswith(".")]
            paths = [path for path in paths if os.path.isfile(path)]
    paths = [path for path in paths if os.path.splitext(path)[1].lower() in FORMATS]
    of_rows = [p for p in paths if FORMATS[os.path.splitext(p)[1].lower()] in SHARDS]
    paths = of_rows or paths  # a table beside shards of rows describes them
    if not paths:
        if said := unread(folder):
            raise FileError("unknown-suffix", said)
        raise FileError(
            "no-shards", f"the folder '{typed}' has no shards in it; expected files in {_READABLE}"
        )
    shards = _one_format(paths, typed)
    kinds: dict[str, str] = {}
    for path in shards:
        kinds.setdefault(_unnumbered(_stem(path)), path)
    if len(kinds) > 1 and not single_vectors(shards):
        names = [os.path.basename(path) for path in kinds.values()]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        raise FileError(
            "mixed-stems",
            f"'{typed}' holds files whose names differ by more than numbers ({shown}), so they are "
            f"hardly shards of one side; name one, such as '{next(iter(kinds.values()))}', or a "
            "pattern in quotes that matches one side alone",
        )
    return shards


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _unnumbered(stem: str) -> str:
    """A stem without its numbers and hashes: what all shards of one set have in common."""
    return re.sub(r"[0-9]+", "#", re.sub(r"(?i)[0-9a-f]{8,}", "#", stem))


def _matching(pattern: str, typed: str) -> tuple[str, ...]:
    paths = [p for p in glob.glob(pattern, recursive=True) if os.path.isfile(p)]
    for path in paths:
        if os.path.splitext(path)[1].lower() not in FORMATS:
            raise FileError(
                "not-rows",
                f"the pattern '{typed}' also matches '{path}'; only {_READABLE} hold rows",
            )
    return _one_format(paths, typed) if paths else ()


def _one_format(paths: list[str], typed: str) -> tuple[str, ...]:
    """Sort shards; refuse formats side by side, which are more likely copies than shards."""
    suffixes = sorted({os.path.splitext(p)[1].lower() for p in paths})
    if len({FORMATS[s] for s in suffixes}) > 1:
        raise FileError(
            "mixed-formats",
            f"'{typed}' mixes {' and '.join(suffixes)}; use a pattern such as '*{suffixes[0]}'",
        )
    return tuple(sorted(paths, key=_by_number))


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
    if suffix in _PICKLES:
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
            "unknown-suffix", f"'{path}' has the suffix '{suffix}'; expected {_READABLE}"
        )
    entries = {k: ("" if _fits(v, floats) else "-") + str(v) for k, v in layouts.items()}
    return layouts[choose(what, f"'{path}'", key, entries, "key")]


def _fits(layout: Layout, floats: bool) -> bool:
    if floats:
        return len(layout.shape) == 2 and is_float(layout.stored)
    return layout.stored.raw.kind in "iu" and layout.stored.name != "bfloat16"


def shards_line(spec: str, stems: list[str]) -> str:
    """How many shards are read as one side, and which."""
    few = stems if len(stems) <= 4 else [stems[0], stems[1], "…", stems[-1]]
    return f"'{spec}' is read as {len(stems)} shards: {', '.join(few)}"


class ShardSource(BaseSource):
    """Shards of one format and dimension, one after another.

    Where number formats differ, blocks have the widest of them.
    """

    shards: tuple[BaseSource, ...]

    def __init__(self, target: Target) -> None:
        shards: list[BaseSource] = []
        for path in target.shards or ():
            spec = path if target.key is None else f"{path}:{target.key}"
            short = os.path.splitext(os.path.basename(path))[0]
            shards.append(open_file(path, target.key, spec, short))
        stems = [shard.name.partition(":")[0] for shard in shards]
        _LOG.info("%s", shards_line(target.spec, stems))
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
        super().__init__(
            spec=target.spec,
            name=target.name,
            rows=sum(s.rows for s in shards),
            dim=known[0].dim,
            dtype=formats.pop() if len(formats) == 1 else wide,
        )
        object.__setattr__(self, "shards", tuple(shards))

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
