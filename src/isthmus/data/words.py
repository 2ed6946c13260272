"""Sentences of the file layer: what a file looks like, and why an array is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from isthmus.errors import CorruptFile, FileError, IsthmusError, ShapeError

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
            f"{what} is an empty file (0 bytes); expected embeddings in it: write it again"
        )


def check_axes(shape: tuple[int, ...], what: str) -> None:
    """Raise ShapeError unless ``shape`` is (rows, dim) with dim of at least 1."""
    text = str(tuple(shape))
    if len(shape) == 2:
        if shape[1] == 0:
            raise ShapeError(
                f"{what} has shape {text}: rows without a single number; "
                "expected (rows, dim) with dim of at least 1: check what wrote it"
            )
        return
    if len(shape) == 3 and shape[1] == 1:
        raise ShapeError(
            f"{what} has shape {text} with a stray middle axis of length 1; "
            "expected (rows, dim): save array[:, 0, :] instead"
        )
    if len(shape) == 3 and shape[0] == 2:
        raise ShapeError(
            f"{what} has shape {text}, which looks like both modalities in one array; "
            "expected (rows, dim): save the two halves, array[0] and array[1], as two files"
        )
    if len(shape) == 3 and shape[0] == 1:
        raise ShapeError(
            f"{what} has shape {text} with a stray first axis of length 1; "
            "expected (rows, dim): save array[0] instead"
        )
    if len(shape) == 1:
        raise ShapeError(
            f"{what} has one axis, shape {text}; expected (rows, dim): "
            "save array.reshape(-1, dim), or array[None, :] if it is a single row"
        )
    raise ShapeError(
        f"{what} has {len(shape)} axes, shape {text}; expected two, (rows, dim): "
        "pool or reshape it to one vector per row"
    )


def choose(
    what: str, path: str, key: str | None, entries: Mapping[str, str | None], noun: str
) -> str:
    """Pick the one key that is meant.

    ``entries`` maps every key to a description such as ``float32 (10, 4)``; a description that
    starts with ``-`` marks an entry that cannot be rows. A key that is named is taken as it is.
    Raises FileError listing the choices when the name is missing, unknown or ambiguous.
    """
    shown = ", ".join(f"'{k}' ({str(v).lstrip('-')})" for k, v in list(entries.items())[:12])
    if len(entries) > 12:
        shown += f" and {len(entries) - 12} more"
    if key is not None:
        if key in entries:
            return key
        raise FileError(
            f"{what} asks for the {noun} '{key}', which {path} does not have; "
            + (f"choose one of: {shown}" if entries else f"it has no {noun} at all")
        )
    if not entries:
        raise FileError(f"{what} has no {noun} in it; expected at least one with embeddings")
    fit = [k for k, v in entries.items() if not str(v).startswith("-")]
    if len(fit) == 1:
        return fit[0]
    if len(entries) == 1:
        return next(iter(entries))
    if not fit:
        raise FileError(
            f"{what} has no {noun} with floating-point rows of shape (rows, dim); it holds: {shown}"
        )
    raise FileError(
        f"{what} has {len(fit)} {noun}s that could be meant; "
        f"name one as FILE:{noun.upper()}, out of: {shown}"
    )


@contextmanager
def opening(path: str | os.PathLike[str], verb: str = "read") -> Iterator[None]:
    """Turn errors of the operating system about ``path`` into FileError."""
    try:
        yield
    except IsthmusError:
        raise
    except FileNotFoundError:
        raise FileError(
            f"there is no file or folder '{os.fspath(path)}'; check the path for a typing error"
        ) from None
    except PermissionError:
        raise FileError(
            f"'{os.fspath(path)}' may not be {verb} by this user; expected permission to "
            f"{'read' if verb == 'read' else 'write'} it: change its permissions"
        ) from None
    except IsADirectoryError:
        raise FileError(
            f"'{os.fspath(path)}' is a folder; expected a file: name a file in it"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(
            f"'{os.fspath(path)}' could not be {verb} ({reason}); "
            "check the disk and the path, then try again"
        ) from error
