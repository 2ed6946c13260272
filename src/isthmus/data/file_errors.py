"""What can be wrong with a file: it is not there, is of another kind, or holds several arrays."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from isthmus.core.checks import meant
from isthmus.data.leftovers import end_half_set
from isthmus.data.remote import RemotePath, open_binary, remote_size
from isthmus.errors import CorruptFile, FileError, IsthmusError

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"ARROW1", "an Arrow IPC file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
)


def looks_like(head: bytes) -> str:
    """Name the kind of file that begins with ``head`` (at least 64 bytes are best)."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "an HTML or XML page, perhaps an error page saved by a download"
    if head[8:9] == b"{" and head[3:8] == b"\0" * 5:
        return "a safetensors file"
    if head and all(b in b"\t\n\r" or 32 <= b < 127 for b in head):
        return "plain text"
    return f"something else (first bytes {head[:8].hex(' ')})" if head else "an empty file"


def refuse_empty(what: str, size: int) -> None:
    """Raise CorruptFile for a file of 0 bytes."""
    if size == 0:
        raise CorruptFile(
            "empty-file",
            f"{what} is an empty file (0 bytes); expected embeddings in it: write it again",
        )


def wrong_kind(what: str, kind: str, head: bytes) -> CorruptFile:
    """The refusal of a file whose name promises another kind than its first bytes ``head``."""
    return CorruptFile(
        "wrong-kind",
        f"{what} is not {kind}: it looks like {looks_like(head)}; check where the file came from",
    )


def cut_short(
    what: str, found: int, promised: int, of: str = "that its header promises"
) -> CorruptFile:
    """The refusal of a file with fewer bytes than it says itself."""
    return CorruptFile(
        "cut-short",
        f"{what} is cut short: it holds {found} of the {promised} bytes {of}; copy or download "
        "it again",
    )


def damaged(what: str, kind: str) -> CorruptFile:
    """The refusal of a file of the right kind that cannot be read."""
    return CorruptFile("damaged-file", f"{what} has a damaged {kind}; write it again")


def choose(
    what: str,
    path: str,
    key: str | None,
    entries: Mapping[str, str],
    noun: str,
    of: str = "floating-point rows of shape (rows, dim)",
) -> str:
    """Pick the one key or column (``noun``) that is meant, where it holds what is wanted (``of``).

    ``entries`` maps every key to a description such as ``float32 (10, 4)``; a description that
    starts with ``-`` marks an entry that cannot be rows. A key that is named is taken as it is.
    Raises FileError listing the choices when the name is missing, unknown or ambiguous.
    """
    shown = ", ".join(f"'{k}' ({v.lstrip('-')})" for k, v in list(entries.items())[:12])
    if len(entries) > 12:
        shown += f" and {len(entries) - 12} more"
    if key is not None:
        if key in entries:
            return key
        known = f"choose one of: {shown}" if entries else f"it has no {noun} at all"
        raise FileError(
            f"unknown-{noun}",
            f"{what} asks for the {noun} '{key}', which {path} has not"
            f"{meant(key, entries)}; {known}",
        )
    fit = [k for k, v in entries.items() if not v.startswith("-")]
    for names in (fit, list(entries)):
        if len(names) == 1:
            return names[0]
    if fit:
        raise FileError(
            f"ambiguous-{noun}",
            f"{what} has {len(fit)} {noun}s that could be meant; "
            f"name one as FILE:{noun.upper()}, out of: {shown}",
        )
    raise FileError(f"no-{noun}", f"{what} has no {noun} with {of}; it holds: {shown or 'nothing'}")


@contextmanager
def os_errors(path: str | os.PathLike[str], verb: str = "read") -> Iterator[None]:
    """Turn errors of the operating system about ``path`` into FileError."""
    try:
        yield
    except IsthmusError:
        raise
    except FileNotFoundError:
        raise no_such_file(path) from None
    except PermissionError:
        raise FileError(
            "no-permission",
            f"'{os.fspath(path)}' may not be {verb} by this user; change its permissions",
        ) from None
    except IsADirectoryError:
        raise FileError(
            "is-a-folder", f"'{os.fspath(path)}' is a folder; expected a file: name a file in it"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(
            "file-system",
            f"'{os.fspath(path)}' could not be {verb} ({reason}); "
            "check the disk and the path, then try again",
        ) from error


def no_such_file(path: str | os.PathLike[str]) -> FileError:
    """The refusal of a path where nothing is."""
    return FileError(
        "no-such-file",
        f"there is no file or folder '{os.fspath(path)}'; check the path for a typing error",
    )


def regular(path: str | os.PathLike[str]) -> Any:
    """What the system says of a file: ``st_size``, ``st_mtime_ns``, ``st_ino``.

    A set of files that a killed run left half replaced is ended first, as it is one of them.
    Raises FileError where it cannot be looked at, or is a folder, a pipe or a device.
    """
    if isinstance(path, RemotePath):
        size, changed = remote_size(path)
        return SimpleNamespace(st_size=size, st_mtime_ns=changed, st_ino=0)
    with os_errors(path):
        end_half_set(path)
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError
    if not stat.S_ISREG(found.st_mode):
        raise FileError(
            "not-a-file",
            f"'{os.fspath(path)}' is a pipe or a device; expected a file, which can be read more "
            "than once: write it to a file first",
        )
    return found


def file_size(path: str | os.PathLike[str]) -> int:
    """Bytes of a file; raises FileError as :func:`regular`."""
    return regular(path).st_size


def read_text(path: str | os.PathLike[str]) -> str:
    """The whole of a text file in UTF-8, with or without a byte order mark.

    Raises FileError as :func:`regular`, CorruptFile where it is no UTF-8.
    """
    regular(path)
    try:
        if isinstance(path, RemotePath):
            with open_binary(path) as raw:
                return io.TextIOWrapper(raw, "utf-8-sig").read()
        with os_errors(path), open(path, encoding="utf-8-sig") as handle:
            return handle.read()
    except UnicodeDecodeError:
        raise CorruptFile(
            "not-utf8", f"'{os.fspath(path)}' is no text file in UTF-8; save it as UTF-8"
        ) from None


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds; raises as :func:`read_text`, and CorruptFile where it is no JSON."""
    return parse_json(read_text(path), f"'{os.fspath(path)}'")


def parse_json(text: str, what: str) -> Any:
    """JSON by its standard: NaN, infinity and a key given twice are refused with CorruptFile."""
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as wrong:
        raise CorruptFile("not-json", f"{what} is no JSON ({wrong}); write it again") from None


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where a key is given twice, of which a reader would take one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found
