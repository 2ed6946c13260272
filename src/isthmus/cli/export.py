"""``isthmus export``: a closer's file in, another form of it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli import options
from isthmus.cli.options import INPUT, check_suffix
from isthmus.cli.output import console, print_json
from isthmus.errors import FileError, OptionError

if TYPE_CHECKING:
    from isthmus.closers.maps import Closer
    from isthmus.deploy.export import Evened

FORMS = ("closer", "json", "onnx", "sentence-transformers", "siglip")
STORES = ("inner-product", "cosine", "euclidean")
SAMPLE = 100_000


def command(
    closer: Annotated[
        Path, typer.Argument(metavar="CLOSER", help="A .safetensors or .json closer.")
    ],
    to: Annotated[str, typer.Option(help="closer, json, onnx, sentence-transformers or siglip.")],
    out: Annotated[Path, typer.Option(help="File, or folder of a model, to write.")],
    model: Annotated[
        str | None, typer.Option(help="What it goes behind: an ONNX file or a model's folder.")
    ] = None,
    role: Annotated[str | None, typer.Option(help="onnx: query or candidate.")] = None,
    output: Annotated[
        str | None, typer.Option(help="onnx: the output that holds rows, where there are several.")
    ] = None,
    query: Annotated[str, typer.Option(help="siglip: which side asks, image or text.")] = "image",
    store: Annotated[
        str | None,
        typer.Option(help="Candidate bias as a coordinate: inner-product, cosine or euclidean."),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(help=f"Candidates whose range --store fits: {INPUT}.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Write a closer as numbers, behind an ONNX graph, or into a model.

    Example: isthmus export closer.safetensors --to json --out closer.json
    """
    from isthmus.closers.maps import Closer

    if to not in FORMS:
        raise OptionError("unknown-form", f"--to {to}: choose one of {', '.join(FORMS)}")
    needs_model = to in ("onnx", "sentence-transformers", "siglip")
    if needs_model != (model is not None):
        said = "name the encoder's file or folder" if needs_model else "leave it out"
        raise OptionError("model-with-form", f"--model with --to {to}: {said}")
    if to == "onnx" and role not in ("query", "candidate"):
        raise OptionError(
            "unknown-role", f"--role {role}: an ONNX graph has one role, say query or candidate"
        )
    fitted = _for_store(_read(closer), store, candidates)
    extra = WRITERS[to](fitted, out, model=model, role=role, output=output, query=query)
    result = {
        "closer": fitted.name,
        "form": to,
        "score": fitted.score,
        "stored_number": isinstance(fitted, Closer) and fitted.bias_weights is not None,
        "out": str(out),
        **extra,
    }
    screen = console(as_json=json)
    screen.print(f"{fitted.name} as {to}, to be searched by {fitted.score}")
    if extra.get("changed") == []:
        screen.print("nothing had to change: this closer moves no row")
    if result["stored_number"]:
        screen.print("each candidate has a bias, to be added to its score")
    screen.print(f"wrote {out}")
    if json:
        print_json(result)


def _read(path: Path) -> Closer | Evened:
    from isthmus.closers.maps import Closer
    from isthmus.deploy.export import from_json

    if path.suffix == ".json":
        if not path.is_file():
            raise FileError(
                "no-file", f"there is no file '{path}'; check the path for a typing error"
            )
        return from_json(path.read_text(encoding="utf-8"))
    return Closer.load(path)


def _for_store(
    closer: Closer | Evened, store: str | None, candidates: str | None
) -> Closer | Evened:
    if (store is None) != (candidates is None):
        raise OptionError(
            "store-without-candidates",
            "--store and --candidates go together: the coordinate fits their range",
        )
    if store is None or candidates is None:
        return closer
    import numpy as np

    from isthmus.data import open_rows
    from isthmus.deploy.export import Evened, as_cosine, as_euclidean, as_inner_product

    if store not in STORES:
        raise OptionError("unknown-store", f"--store {store}: choose one of {', '.join(STORES)}")
    if isinstance(closer, Evened):
        raise OptionError(
            "store-twice", "--store: this closer has its coordinates for a store already"
        )
    source = open_rows(candidates)
    if store != "inner-product" and source.rows > SAMPLE:
        rows = source.read()  # the limit must hold for every one of them
    else:
        rows = source.take(np.arange(0, source.rows, max(1, source.rows // SAMPLE)))
    forms: dict[str, Callable[..., Closer | Evened]] = {
        "inner-product": as_inner_product,
        "cosine": as_cosine,
        "euclidean": as_euclidean,
    }
    return forms[store](closer, rows)


def _closer(closer: Closer | Evened, out: Path, **_: Any) -> dict[str, Any]:
    check_suffix(out, ".safetensors", "a closer")
    _plain(closer, "closer").save(out)
    return {}


def _json(closer: Closer | Evened, out: Path, **_: Any) -> dict[str, Any]:
    from isthmus.data import atomic_path
    from isthmus.deploy.export import to_json

    text = to_json(closer)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return {}


def _onnx(
    closer: Closer | Evened, out: Path, *, model: Any, role: Any, output: str | None, **_: Any
) -> dict[str, Any]:
    from isthmus.deploy.export import append_to_onnx

    return {"outputs": append_to_onnx(model, closer, role, out, output=output), "role": role}


def _sentence_transformers(
    closer: Closer | Evened, out: Path, *, model: Any, **_: Any
) -> dict[str, Any]:
    from isthmus.deploy.export import append_to_sentence_transformer
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
    from isthmus.deploy.export import fold_into_siglip
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
    from isthmus.deploy.export import Evened

    if isinstance(closer, Evened):
        raise OptionError(
            "store-with-form",
            f"--to {form} has no place for the last coordinate of --store {closer.score}; use json "
            "or onnx",
        )
    return closer


WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "closer": _closer,
    "json": _json,
    "onnx": _onnx,
    "sentence-transformers": _sentence_transformers,
    "siglip": _siglip,
}
