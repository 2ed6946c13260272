"""The body of ``isthmus export``: a closer's file in, another form of it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.cli.words import console, print_json
from isthmus.closers.maps import Closer
from isthmus.data import atomic_path, open_rows
from isthmus.deploy.export import (
    Evened,
    append_to_onnx,
    append_to_sentence_transformer,
    as_cosine,
    as_euclidean,
    as_inner_product,
    fold_into_siglip,
    from_json,
    to_json,
)
from isthmus.errors import FileError, OptionError

FORMS = ("closer", "json", "onnx", "sentence-transformers", "siglip")
STORES: dict[str, Callable[..., Closer | Evened]] = {
    "inner-product": as_inner_product,
    "cosine": as_cosine,
    "euclidean": as_euclidean,
}
SAMPLE = 100_000


def run(
    closer: Path,
    *,
    to: str,
    out: Path,
    model: str | None,
    role: str | None,
    output: str | None,
    query: str,
    store: str | None,
    candidates: str | None,
    as_json: bool,
) -> None:
    """Read, bring the stored number in where asked, write."""
    if to not in FORMS:
        raise OptionError(f"--to {to}: choose one of {', '.join(FORMS)}")
    needs_model = to in ("onnx", "sentence-transformers", "siglip")
    if needs_model != (model is not None):
        said = "name the encoder's file or folder" if needs_model else "leave it out"
        raise OptionError(f"--model with --to {to}: {said}")
    if to == "onnx" and role not in ("query", "candidate"):
        raise OptionError(f"--role {role}: an ONNX graph has one role, say query or candidate")
    fitted = _for_store(_read(closer), store, candidates)
    told = WRITERS[to](fitted, out, model=model, role=role, output=output, query=query)
    result = {
        "closer": fitted.name,
        "form": to,
        "score": fitted.score,
        "stored_number": isinstance(fitted, Closer) and fitted.bias is not None,
        "out": str(out),
        **told,
    }
    screen = console(as_json=as_json)
    screen.print(f"{fitted.name} as {to}, to be searched by {fitted.score}")
    if told.get("changed") == []:
        screen.print("nothing had to change: this closer moves no row")
    if result["stored_number"]:
        screen.print("each candidate has a stored number, to be added to its score")
    screen.print(f"wrote {out}")
    if as_json:
        print_json(result)


def _read(path: Path) -> Closer | Evened:
    if path.suffix == ".json":
        if not path.is_file():
            raise FileError(f"there is no file '{path}'; check the path for a typing error")
        return from_json(path.read_text(encoding="utf-8"))
    return Closer.load(path)


def _for_store(
    closer: Closer | Evened, store: str | None, candidates: str | None
) -> Closer | Evened:
    if (store is None) != (candidates is None):
        raise OptionError("--store and --candidates go together: the coordinate fits their range")
    if store is None or candidates is None:
        return closer
    if store not in STORES:
        raise OptionError(f"--store {store}: choose one of {', '.join(STORES)}")
    if isinstance(closer, Evened):
        raise OptionError("--store: this closer has its coordinates for a store already")
    source = open_rows(candidates)
    if store != "inner-product" and source.rows > SAMPLE:
        rows = source.read()  # the limit must hold for every one of them
    else:
        rows = source.take(np.arange(0, source.rows, max(1, source.rows // SAMPLE)))
    return STORES[store](closer, rows)


def _closer(closer: Closer | Evened, out: Path, **_: Any) -> dict[str, Any]:
    if out.suffix != ".safetensors":
        raise OptionError(f"--out {out}: a closer is a .safetensors file; name it so")
    _plain(closer, "closer").save(out)
    return {}


def _json(closer: Closer | Evened, out: Path, **_: Any) -> dict[str, Any]:
    text = to_json(closer)
    with atomic_path(out) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
    return {}


def _onnx(
    closer: Closer | Evened, out: Path, *, model: Any, role: Any, output: str | None, **_: Any
) -> dict[str, Any]:
    return {"outputs": append_to_onnx(model, closer, role, out, output=output), "role": role}


def _sentence_transformers(
    closer: Closer | Evened, out: Path, *, model: Any, **_: Any
) -> dict[str, Any]:
    from isthmus.encoders._library import library, loading

    what, extra = "Export to sentence-transformers", "sentence-transformers"
    package = library("sentence_transformers", what, extra, extra)
    with loading(what, model):
        network = package.SentenceTransformer(model, device="cpu")
    append_to_sentence_transformer(network, closer).save(str(out))
    return {}


def _siglip(
    closer: Closer | Evened, out: Path, *, model: Any, query: str, **_: Any
) -> dict[str, Any]:
    from isthmus.encoders._library import library, loading

    what = "Folding into SigLIP"
    package = library("transformers", what, "transformers", "transformers")
    with loading(what, model):
        network = package.AutoModel.from_pretrained(model)
        processor = package.AutoProcessor.from_pretrained(model)
    changed = fold_into_siglip(network, _plain(closer, "siglip"), query=query)
    network.save_pretrained(out)
    processor.save_pretrained(out)
    return {"changed": changed}


def _plain(closer: Closer | Evened, form: str) -> Closer:
    if isinstance(closer, Evened):
        raise OptionError(
            f"--to {form} has no place for the last coordinate of --store {closer.score}; use json "
            "or onnx"
        )
    return closer


WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "closer": _closer,
    "json": _json,
    "onnx": _onnx,
    "sentence-transformers": _sentence_transformers,
    "siglip": _siglip,
}
