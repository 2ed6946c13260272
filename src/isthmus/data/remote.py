"""Files that lie elsewhere: ``s3://``, ``gs://``, ``file://``, and what fsspec knows.

A path on a network is the one case in which reading rows opens a connection. Only what is asked for
is read, by ranges: a header, the rows of a block. Credentials come from where the cloud's own tools
have them (environment, files, roles); an address that holds some is refused, as it would be shown.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import IO, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from isthmus.errors import FileError, IsthmusError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(?=.)")
_BUFFER = 1 << 16
_OPTIONS = {"endpoint_override", "region", "scheme", "anonymous"}
_PAGES = ("http", "https", "ftp")
_PREFIXES = {"gcs": "gs", "s3a": "s3"}


class RemotePath(str):
    """``SCHEME://PLACE`` as it is shown; ``options`` is what followed its ``?``."""

    options: str = ""

    def __reduce__(self) -> Any:
        return _remote_path, (str(self), self.options)

    def sibling(self, path: str) -> RemotePath:
        """Another path of the same place."""
        return _remote_path(path, self.options)


def _remote_path(path: str, options: str) -> RemotePath:
    made = RemotePath(path)
    made.options = options
    return made


def is_remote(path: Any) -> bool:
    """Whether a path was made by :func:`remote_path`."""
    return isinstance(path, RemotePath)


def local_of(typed: str) -> str:
    """``file:///a%20b.npy`` -> ``/a b.npy``; anything else stays."""
    return unquote(urlsplit(typed).path) if typed.lower().startswith("file://") else typed


def remote_path(typed: str) -> RemotePath | None:
    """The path of an address on a network; None where it is none.

    Raises:
        FileError: credentials in it, an option that is unknown, a page of the web, or a scheme that
            neither pyarrow nor fsspec knows.
    """
    match = _URL.match(typed)
    if match is None:
        return None
    scheme = _PREFIXES.get(match[1].lower(), match[1].lower())
    body, _, query = typed[match.end() :].partition("?")
    if "@" in body.partition("/")[0]:
        raise FileError(
            "secret-in-address",
            f"an address of {scheme}:// holds credentials, which would be shown; set them where "
            "its own tools look for them, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    shown = f"{scheme}://{body}"
    if scheme in _PAGES:
        raise FileError(
            "is-a-url",
            f"'{shown}' is a page of the web, and nothing is downloaded here; download the file "
            "first and give its name",
        )
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise FileError(
                "unknown-option",
                f"'{shown}' has the option '{name}'; expected {', '.join(sorted(_OPTIONS))}, and "
                "credentials in the environment",
            )
    path = _remote_path(shown, query)
    _system(path.partition("://")[0], shown.split("/")[2], query)
    return path


@lru_cache(64)
def _system(scheme: str, bucket: str, query: str) -> Any:
    """The file system of a scheme. Raises FileError where there is none."""
    from pyarrow import fs

    said: dict[str, Any] = dict(parse_qsl(query))
    if "anonymous" in said:
        said["anonymous"] = said["anonymous"].lower() in ("1", "true", "yes")
    with _said(f"{scheme}://{bucket}"):
        if scheme == "s3":
            region = said.get("region") or os.environ.get("AWS_REGION")
            region = region or os.environ.get("AWS_DEFAULT_REGION")
            elsewhere = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            if elsewhere and "endpoint_override" not in said:
                protocol, _, said["endpoint_override"] = elsewhere.rpartition("://")
                said.setdefault("scheme", protocol or "https")
            if region is None and "endpoint_override" not in said:
                said["region"] = fs.resolve_s3_region(bucket)
            return fs.S3FileSystem(**said)
        if scheme == "gs":
            kept = {k: v for k, v in said.items() if k != "region"}
            return fs.GcsFileSystem(
                **kept, retry_time_limit=timedelta(seconds=60)
            )  # not 15 minutes
    try:
        import fsspec

        made = fsspec.filesystem(scheme)
    except (ImportError, ValueError) as missing:
        raise FileError(
            "is-a-url",
            f"'{scheme}://' is read by no library here; install the one of fsspec that knows it, "
            "or download the file first and give its name",
        ) from missing
    return fs.PyFileSystem(fs.FSSpecHandler(made))


def _place(path: RemotePath) -> tuple[Any, str]:
    """The file system, and the path within it."""
    scheme, _, body = path.partition("://")
    return _system(scheme, body.partition("/")[0], path.options), body


@contextmanager
def _said(shown: str) -> Iterator[None]:
    """Turn what a file system refuses into one sentence without its address."""
    try:
        yield
    except IsthmusError:
        raise
    except FileNotFoundError:
        raise FileError(
            "no-such-file", f"there is no file '{shown}'; check the address for a typing error"
        ) from None
    except Exception as error:  # each library has a family of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FileError(
            "not-reachable", f"'{shown}' could not be read ({type(error).__name__}: {reason})"
        ) from None


@contextmanager
def open_binary(path: Any, *, buffered: bool = True) -> Iterator[IO[bytes]]:
    """The bytes of a file, here or elsewhere, from its start.

    ``buffered``: small reads come from a buffer; else every read is one request.
    """
    if not is_remote(path):
        with open(path, "rb", -1 if buffered else 0) as handle:
            yield handle
        return
    system, place = _place(path)
    with _said(path):
        raw = system.open_input_file(place)
    with raw:
        yield io.BufferedReader(raw, _BUFFER) if buffered else raw


def remote_size(path: RemotePath) -> tuple[int, int]:
    """(bytes, time of change in ns) of a file.

    Raises:
        FileError: it is not there, or is a folder.
    """
    found = _info(path)
    if not found.is_file:
        code = "no-such-file" if found.type.name == "NotFound" else "is-a-folder"
        raise FileError(code, f"there is no file '{path}'; check the address for a typing error")
    return int(found.size), int(found.mtime_ns or 0)


def _info(path: RemotePath) -> Any:
    system, place = _place(path)
    with _said(path):
        return system.get_file_info(place.rstrip("/"))


def remote_kind(path: RemotePath) -> str:
    """``file``, ``folder`` or nothing."""
    return {"File": "file", "Directory": "folder"}.get(_info(path).type.name, "")


def remote_files(folder: RemotePath, pattern: str = "*") -> list[RemotePath]:
    """Files in a folder whose names fit a pattern; hidden ones are left out."""
    from pyarrow import fs

    system, place = _place(folder)
    with _said(folder):
        listed = system.get_file_info(fs.FileSelector(place.rstrip("/"), recursive=False))
    names = [one.base_name for one in listed if one.is_file]
    base = folder.rstrip("/")
    return [
        folder.sibling(f"{base}/{name}")
        for name in sorted(names)
        if fnmatchcase(name, pattern) and not name.startswith(".")
    ]


def is_file(path: str) -> bool:
    """Whether there is a file of this name, here or elsewhere."""
    return remote_kind(path) == "file" if isinstance(path, RemotePath) else os.path.isfile(path)
