"""What a canary is made of and held against: rows, or what an encoder makes of inputs."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.arrays import to_numpy
from isthmus.data.ids import read_ids
from isthmus.data.source import ids_of
from isthmus.data.summary import opened
from isthmus.encoders import ENCODERS, Encoder, load_encoder
from isthmus.encoders.inputs import Kind, open_source
from isthmus.errors import FileError, OptionError, ShapeError, ValuesError

OTHER_BATCHES = (1, 7)
"""Batch sizes of the further runs of an encoder."""
LIBRARIES = {
    "onnxruntime": "onnxruntime",
    "open_clip": "open_clip_torch",
    "PIL": "pillow",
    "sentence_transformers": "sentence-transformers",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
}
"""Module -> package: those that are loaded are named with their version."""


@dataclass(frozen=True, eq=False)
class Taken:
    """Vectors (n, d) of inputs, their names, and where they stand among all that were given."""

    vectors: np.ndarray
    ids: tuple[str, ...]
    places: np.ndarray
    total: int
    kind: str = "rows"
    digests: dict[str, str] = field(default_factory=dict)
    again: tuple[np.ndarray, ...] = ()


def is_encoder(given: Any) -> bool:
    """An encoder, or the name of one that is no file."""
    if not isinstance(given, str):
        return isinstance(given, Encoder)
    return given.partition(":")[0] in ENCODERS and not Path(given).exists()


def take_first(
    rows: Any, *, images: Any, texts: Any, ids: Any, most: int, batch_size: int, device: str
) -> Taken:
    """At most ``most`` evenly spaced inputs.

    Raises:
        OptionError: an encoder without inputs, rows with them, or not one name each.
    """
    names = read_ids(os.fspath(ids)) if isinstance(ids, (str, os.PathLike)) else ids
    if not is_encoder(rows):
        if images is not None or texts is not None:
            raise OptionError(
                "unknown-encoder",
                f"{rows!r} is no encoder, but images or texts were given; name one of "
                f"{', '.join(ENCODERS)}, with its model after a colon",
            )
        source = opened(rows, "rows")
        places = spread(source.rows, most)
        vectors = np.asarray(source.take(places), np.float32)
        known = ids_of(source) if names is None else names
        return Taken(vectors, _named(known, places, source.rows), places, source.rows)
    model = rows if isinstance(rows, Encoder) else load_encoder(rows, device=device)
    inputs = _Inputs.of(images, texts)
    places = spread(len(inputs.items), most)
    some = [inputs.items[i] for i in places]
    vectors = inputs.through(model, some, batch_size)
    return Taken(
        vectors,
        tuple(inputs.names[i] for i in places)
        if names is None
        else _named(names, places, len(inputs.items)),
        places,
        len(inputs.items),
        inputs.kind,
        {**_model_digests(model), "inputs": inputs.digest(some)},
        tuple(inputs.through(model, some, size) for size in OTHER_BATCHES),
    )


def take_again(
    rows: Any,
    before: Taken,
    *,
    images: Any = None,
    texts: Any = None,
    batch_size: int = 64,
    device: str = "cpu",
) -> Taken:
    """The same inputs of other rows, or through another encoder.

    Inputs are found by their names, and rows by their ids where the file has all of them; without,
    as many as those kept, or as all that were given, are taken by their places.

    Raises:
        ShapeError: another number of rows or inputs. FileError: inputs that are not there.
    """
    if not is_encoder(rows):
        as_is = isinstance(rows, (str, os.PathLike)) or hasattr(rows, "shard_bounds")
        found: Any = opened(rows, "rows") if as_is else to_numpy(rows)
        ids = ids_of(found) if as_is else None
        place = {} if ids is None else {str(name): i for i, name in enumerate(ids.tolist())}
        if place and all(name in place for name in before.ids):
            places = np.array([place[name] for name in before.ids])
        else:
            places = _same_places(found.rows if as_is else len(found), before, "rows")
        got = found.take(places) if as_is else found[places]
        return Taken(np.asarray(got), before.ids, before.places, before.total)
    model = rows if isinstance(rows, Encoder) else load_encoder(rows, device=device)
    if images is None and texts is None and before.kind == "texts":
        texts = list(before.ids)
    inputs = _Inputs.of(images, texts)
    known = dict(zip(inputs.names, inputs.items, strict=True))
    missing = [name for name in before.ids if name not in known]
    if not missing and before.kind == inputs.kind:
        some = [known[name] for name in before.ids]
    elif missing and len(inputs.items) not in (len(before.ids), before.total):
        raise FileError(
            "missing-inputs",
            f"{len(missing)} of {len(before.ids)} inputs of the canary are not among the "
            f"{inputs.kind}, the first '{missing[0]}'; give the {inputs.kind} it was made of",
        )
    else:
        some = [inputs.items[i] for i in _same_places(len(inputs.items), before, inputs.kind)]
    vectors = inputs.through(model, some, batch_size)
    digests = {**_model_digests(model), "inputs": inputs.digest(some)}
    return Taken(vectors, before.ids, before.places, before.total, inputs.kind, digests)


def _same_places(count: int, before: Taken, what: str) -> np.ndarray:
    if count == len(before.ids):
        return np.arange(count)
    if count == before.total:
        return before.places
    raise ShapeError(
        "other-shape",
        f"{count} {what} for a canary of {len(before.ids)} inputs of {before.total}; expected the "
        "same inputs in the same order",
    )


def spread(count: int, most: int) -> np.ndarray:
    """At most ``most`` evenly spaced places among ``count``, the first and the last with them."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def _named(names: Any, places: np.ndarray, total: int) -> tuple[str, ...]:
    if names is None:
        return tuple(str(i) for i in places)
    names = [str(name) for name in names]
    if len(names) not in (total, len(places)):
        raise OptionError(
            "canary-names", f"{len(names)} names for {total} inputs; expected one name each"
        )
    return tuple(names[i] for i in places) if len(names) == total else tuple(names)


@dataclass(frozen=True, eq=False)
class _Inputs:
    """Images or texts, each once, and their names."""

    kind: Kind
    items: list[Any]
    names: list[str]

    @classmethod
    def of(cls, images: Any, texts: Any) -> _Inputs:
        if (images is None) == (texts is None):
            raise OptionError(
                "images-or-texts", "an encoder needs either images or texts to embed; give one"
            )
        kind: Kind = "images" if texts is None else "texts"
        given = images if texts is None else texts
        if isinstance(given, (list, tuple)) and not all(
            isinstance(item, (str, os.PathLike)) for item in given
        ):
            return cls(kind, list(given), [str(i) for i in range(len(given))])
        source = open_source(given, kind)
        found = dict(zip(source.items(), source.inputs(), strict=True))
        return cls(kind, list(found.values()), list(found))

    def through(self, model: Encoder, items: list[Any], batch_size: int) -> np.ndarray:
        """Rows of ``items``; NaN for an input of which the model makes no finite row."""
        encode = model.encode_images if self.kind == "images" else model.encode_texts
        try:
            return np.asarray(encode(items, batch_size=batch_size))
        except ValuesError as error:
            if error.code != "not-finite":
                raise
        if len(items) == 1:
            return np.full((1, model.dim), np.nan, np.float32)
        return np.vstack([self.through(model, [item], 1) for item in items])

    def digest(self, items: list[Any]) -> str:
        """SHA-256 over texts, files, or the pixels of images in memory."""
        found = hashlib.sha256()
        for item in items:
            if self.kind == "texts":
                found.update(item.encode("utf-8", "surrogateescape") + b"\0")
            elif isinstance(item, (str, os.PathLike)):
                found.update(_of_file(Path(item)).encode())
            else:
                found.update(item.tobytes())
        return found.hexdigest()


def _model_digests(model: Encoder) -> dict[str, str]:
    """Its name, SHA-256 of the files it was loaded from where they lie here, and versions."""
    found = {"encoder": model.name}
    for path in model.files():
        found[f"model {path.name}"] = _of_file(path)
    for module, package in LIBRARIES.items():
        if module in sys.modules:
            found[f"library {package}"] = metadata.version(package)
    return found


def _of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
