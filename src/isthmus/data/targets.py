"""What the words that a user typed name: a file and its key, a folder or a glob of shards."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from isthmus.core.order import natural
from isthmus.data.file_errors import no_such_file, os_errors
from isthmus.data.remote import RemotePath, local_of, remote_files, remote_kind, remote_path
from isthmus.data.tables import dataset_files, single_vectors
from isthmus.data.unread import unread
from isthmus.errors import FileError

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
"""Suffix -> format."""
SHARDS = ("npy", "npz", "safetensors", "parquet", "arrow")
"""Formats that shards of rows come in; others in their folder are taken for tables about them."""
LOG = logging.getLogger("isthmus.data")
READABLE = ", ".join(sorted(FORMATS))


@dataclass(frozen=True)
class Target:
    """A spec taken apart: one file, or the shards of a folder or glob, and a key if named."""

    spec: str
    name: str
    path: str
    key: str | None
    shards: tuple[str, ...] | None = None


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
            "no-shards", f"the folder '{typed}' has no shards in it; expected files in {READABLE}"
        )
    shards = _one_format(paths, typed)
    kinds: dict[str, str] = {}
    for path in shards:
        kinds.setdefault(_unnumbered(os.path.splitext(os.path.basename(path))[0]), path)
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


def _unnumbered(stem: str) -> str:
    """A stem without its numbers and hashes: what all shards of one set have in common."""
    return re.sub(r"[0-9]+", "#", re.sub(r"(?i)[0-9a-f]{8,}", "#", stem))


def _matching(pattern: str, typed: str) -> tuple[str, ...]:
    paths = [p for p in glob.glob(pattern, recursive=True) if os.path.isfile(p)]
    for path in paths:
        if os.path.splitext(path)[1].lower() not in FORMATS:
            raise FileError(
                "not-rows",
                f"the pattern '{typed}' also matches '{path}'; only {READABLE} hold rows",
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
    return tuple(sorted(paths, key=natural))


def shards_line(spec: str, stems: list[str]) -> str:
    """How many shards are read as one side, and which."""
    few = stems if len(stems) <= 4 else [stems[0], stems[1], "…", stems[-1]]
    return f"'{spec}' is read as {len(stems)} shards: {', '.join(few)}"
