"""From a closer's file to another form of it: what ``isthmus export`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.checks import ends_in, one_of
from isthmus.core.libraries import library
from isthmus.data import atomic_path, open_rows
from isthmus.data.atomic import atomic_folder
from isthmus.data.file_errors import read_text
from isthmus.data.overwriting import refuse_overwriting
from isthmus.data.records import Record
from isthmus.deploy.export.closer_json import from_json, to_json
from isthmus.deploy.export.models import fold_into_siglip
from isthmus.deploy.export.onnx_graph import append_to_onnx
from isthmus.deploy.export.sbert import append_to_sentence_transformer
from isthmus.deploy.export.stores import Evened, as_cosine, as_euclidean, as_inner_product
from isthmus.encoders.libraries import loading
from isthmus.errors import FileError, IsthmusError, OptionError

MODELS = ("onnx", "sentence-transformers", "siglip")
"""Forms that go behind a model."""

STORES: dict[str, Callable[..., Closer | Evened]] = {
    "inner-product": as_inner_product,
    "cosine": as_cosine,
    "euclidean": as_euclidean,
}
SAMPLE = 100_000
"""Candidates whose range an inner-product coordinate is made for."""


@dataclass(frozen=True)
class Exported(Record):
    """What was written.

    Attributes:
        closer, score: its name, and the score it is searched by. form: what it was written as.
        has_bias: a bias is to be added to the score of each candidate; ``stored_number`` in JSON.
        out: file or folder. more: ``outputs`` and ``role`` of an ONNX graph, ``changed`` of SigLIP.
    """

    closer: str
    form: str
    score: str
    has_bias: bool
    out: Path
    more: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ``more`` among them."""
        flat = {"stored_number" if k == "has_bias" else k: v for k, v in super().to_dict().items()}
        return flat | flat.pop("more")


def export_closer(
    closer: Closer | Evened | str | os.PathLike[str],
    *,
    to: str,
    out: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    role: str | None = None,
    output: str | None = None,
    query: str = "image",
    store: str | None = None,
    candidates: Any = None,
) -> Exported:
    """Write a closer in another form.

    Args:
        closer: fitted, or a ``.safetensors`` or ``.json`` file of one.
        to: closer, json, onnx, sentence-transformers or siglip.
        out: file to write, or folder for a model.
        model: what it goes behind: an ONNX file, or a model's folder or published name.
        role: onnx: query or candidate. output: onnx: the output that holds rows, where there are
            several. query: siglip: which side asks, image or text.
        store: first make the candidate bias a coordinate, for a store that ranks by
            inner-product, cosine or euclidean. candidates: (K, d) rows, whose range it fits.

    Raises:
        OptionError: an unknown form, store or role, or options that do not go together.
        CloserError: the form cannot hold this closer. FileError: a file cannot be read.
    """
    one_of(to, FORMS, "to", "unknown-form")
    if (to in MODELS) != (model is not None):
        said = "name the encoder's file or folder" if to in MODELS else "leave it out"
        raise OptionError("model-with-form", f"model with the form {to}: {said}")
    if to == "onnx" and role not in ("query", "candidate"):
        raise OptionError(
            "unknown-role", f"role {role}: an ONNX graph has one role, say query or candidate"
        )
    refuse_overwriting({"out": out}, {"closer": closer, "model": model, "candidates": candidates})
    fitted = closer if isinstance(closer, Closer | Evened) else _read(Path(closer))
    fitted = _for_store(fitted, store, candidates)
    name = None if model is None else os.fspath(model)
    more = FORMS[to](fitted, Path(out), model=name, role=role, output=output, query=query)
    biased = isinstance(fitted, Closer) and fitted.bias_weights is not None
    return Exported(fitted.name, to, fitted.score, biased, Path(out), more)


def _read(path: Path) -> Closer | Evened:
    if path.suffix != ".json":
        return Closer.load(path)
    return from_json(read_text(path), str(path))


def _for_store(closer: Closer | Evened, store: str | None, candidates: Any) -> Closer | Evened:
    if (store is None) != (candidates is None):
        raise OptionError(
            "store-without-candidates",
            "store and candidates go together: the coordinate fits their range",
        )
    if store is None:
        return closer
    one_of(store, STORES, "store")
    if isinstance(closer, Evened):
        raise OptionError("store-twice", "this closer has its coordinates for a store already")
    source = open_rows(candidates)
    if store != "inner-product" and source.rows > SAMPLE:
        rows = source.read()  # the limit must hold for every one of them
    else:
        rows = source.take(np.arange(0, source.rows, max(1, source.rows // SAMPLE)))
    return STORES[store](closer, rows)


def _closer(closer: Closer | Evened, out: Path, **_: Any) -> dict[str, Any]:
    plain = _plain(closer, "closer")
    ends_in(out, (".safetensors",), "a closer")
    plain.save(out)
    return {}


def _json(closer: Closer | Evened, out: Path, **_: Any) -> dict[str, Any]:
    text = to_json(closer)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return {}


def _onnx(
    closer: Closer | Evened, out: Path, *, model: Any, role: Any, output: str | None, **_: Any
) -> dict[str, Any]:
    return {"outputs": append_to_onnx(model, closer, role, out, output=output), "role": role}


def _sentence_transformers(
    closer: Closer | Evened, out: Path, *, model: Any, **_: Any
) -> dict[str, Any]:
    what, extra = "Export to sentence-transformers", "sentence-transformers"
    package = library("sentence_transformers", what, extra, extra)
    with loading(what, model):
        network = package.SentenceTransformer(model, device="cpu")
    append_to_sentence_transformer(network, closer)
    with _model_folder(out) as folder:
        network.save(str(folder))
    return {}


def _siglip(
    closer: Closer | Evened, out: Path, *, model: Any, query: str, **_: Any
) -> dict[str, Any]:
    what = "Folding into SigLIP"
    package = library("transformers", what, "transformers", "transformers")
    with loading(what, model):
        network = package.AutoModel.from_pretrained(model)
        processor = package.AutoProcessor.from_pretrained(model)
    changed = fold_into_siglip(network, _plain(closer, "siglip"), query=query)
    with _model_folder(out) as folder:
        network.save_pretrained(folder)
        processor.save_pretrained(folder)
    return {"changed": changed}


@contextmanager
def _model_folder(out: Path) -> Iterator[Path]:
    """A folder that a library fills by its own ``save``: in its place once it is whole."""
    with atomic_folder(out) as folder:
        try:
            yield folder
        except (OSError, IsthmusError):
            raise
        except Exception as error:  # a library has errors of its own, also for a full disk
            raise FileError(
                "model-not-saved",
                f"the model could not be saved to '{out}' ({' '.join(str(error).split())}); what "
                "was there is as it was: check the disk and the path",
            ) from error


def _plain(closer: Closer | Evened, form: str) -> Closer:
    if isinstance(closer, Evened):
        raise OptionError(
            "store-with-form",
            f"the form {form} holds no coordinate for a {closer.score} store; use json or onnx",
        )
    return closer


FORMS: dict[str, Callable[..., dict[str, Any]]] = {
    "closer": _closer,
    "json": _json,
    "onnx": _onnx,
    "sentence-transformers": _sentence_transformers,
    "siglip": _siglip,
}
