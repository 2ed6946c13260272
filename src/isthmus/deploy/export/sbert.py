"""Behind a SentenceTransformer, in modules of its own: no code of ours is needed to load it."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.maps import RowMap
from isthmus.core.libraries import library
from isthmus.deploy.export.stores import Evened
from isthmus.errors import CloserError, OptionError, ShapeError

WHAT, EXTRA = "Export to sentence-transformers", "sentence-transformers"


def append_to_sentence_transformer(
    model: Any,
    closer: Closer | Evened,
    *,
    modalities: tuple[str, str] | None = None,
    bias_apart: bool = False,
) -> Any:
    """Append a closer to a SentenceTransformer, in place, in built-in modules only.

    A Router sends queries and documents through their own Normalize and Dense modules (a
    translation is a Dense of the identity and a bias). The model saves and loads as before,
    without ``trust_remote_code``; ``encode_query`` and ``encode_document`` give the NumPy path's
    rows within 1e-5 of their length, and ``similarity`` is the closer's score. A plain ``encode``
    says that a task is missing, since a default would send half of the inputs the wrong way.

    ``normalize_embeddings``, ``truncate_dim`` and ``precision`` act on closed rows and change
    rankings unless the closer is searched by cosine: leave them out.

    Args:
        model: a SentenceTransformer that gives one vector per input; returned for convenience.
        closer: one without candidate bias: ``encode`` has no place for it. Bring the bias in with
            :func:`~isthmus.deploy.export.as_inner_product` first.
        modalities: what queries and candidates are, as ("image", "text"): then a plain ``encode``
            goes by what it is given, and ``encode_query`` and ``encode_document`` by their role.
        bias_apart: take a closer with candidate bias all the same; store
            ``closer.candidate_bias`` of the rows that the model gave without it.

    Raises:
        CloserError: a candidate bias would be lost, or a last coordinate is no linear map.
        ShapeError: the model gives rows of another length. OptionError: it cuts rows already, or is
        closed already.
        MissingExtra: sentence-transformers is not installed.
    """
    torch = library("torch", WHAT, "torch", EXTRA)
    package = library("sentence_transformers", WHAT, "sentence-transformers", EXTRA)
    parts = _modules(package)
    closer = _checked(model, closer, bias_apart, parts.Router)
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    routes = {
        "query": _steps(torch, parts, closer.query, kind),
        "document": _steps(torch, parts, closer.candidate, kind),
    }
    more: dict[str, Any] = {}
    if modalities is not None:
        if len(set(modalities)) != 2:
            raise OptionError(
                "unknown-modalities", f"modalities={modalities}; expected two, as ('image', 'text')"
            )
        more["route_mappings"] = {
            ("query", None): "query",
            ("document", None): "document",
            (None, modalities[0]): "query",
            (None, modalities[1]): "document",
        }
    router = parts.Router(routes, default_route=None, allow_empty_key=False, **more)
    model.append(router.to(model.device))
    model.similarity_fn_name = closer.score
    return model


def _checked(model: Any, closer: Closer | Evened, bias_apart: bool, router: Any) -> Closer:
    """Refuse what built-in modules cannot do behind this model."""
    if isinstance(closer, Evened):
        raise CloserError(
            "coordinate-has-no-place",
            f"the last coordinate of {closer.name} is a square root of the row's length, which no "
            "built-in module computes; use as_inner_product, or a torch module",
        )
    if closer.bias_weights is not None and closer.bias_weights.any() and not bias_apart:
        raise CloserError(
            "bias-has-no-place",
            f"{closer.name} has a bias per candidate, which encode_document has no place for; "
            "make it a coordinate with as_inner_product, or say bias_apart=True and store "
            "closer.candidate_bias(rows) yourself",
        )
    if getattr(model, "truncate_dim", None) is not None:
        raise OptionError(
            "truncated-model",
            f"this model cuts rows to {model.truncate_dim} dimensions after its last module, which "
            "would cut closed rows; set truncate_dim=None, and fit on rows of full length",
        )
    size = _dimensions(model)
    if size not in (None, closer.query.dim) or closer.candidate.dim != closer.query.dim:
        raise ShapeError(
            "unequal-dimensions",
            f"the model gives {size} dimensions, the closer was fitted for {closer.query.dim}",
        )
    last = list(model.children())[-1]
    if isinstance(last, router) and set(last.sub_modules) == {"query", "document"}:
        raise OptionError(
            "closer-twice", "this model already ends in routes; join closers with Closer.then"
        )
    return closer


def _modules(package: Any) -> Any:
    """Where Router, Dense and Normalize are: they moved between releases."""
    try:
        return library("sentence_transformers.sentence_transformer.modules", WHAT, "", EXTRA)
    except Exception:
        return package.models


def _dimensions(model: Any) -> int | None:
    for name in ("get_embedding_dimension", "get_sentence_embedding_dimension"):
        if hasattr(model, name):
            found = getattr(model, name)()
            return None if found is None else int(found)
    return None


def _steps(torch: Any, parts: Any, side: RowMap, kind: Any) -> list[Any]:
    """Normalize and Dense modules that do what a map does; one Dense of the identity for none."""
    modules: list[Any] = []
    for step in side.steps:
        if step.normalised:
            modules.append(parts.Normalize())
        if step.matrix is not None or not step.is_identity:
            weight = np.eye(step.dim) if step.matrix is None else step.matrix
            modules.append(_dense(torch, parts, weight, step.offset, kind))
        if step.renormalised:
            modules.append(parts.Normalize())
    return modules or [_dense(torch, parts, np.eye(side.dim), None, kind)]


def _dense(torch: Any, parts: Any, weight: np.ndarray, shift: np.ndarray | None, kind: Any) -> Any:
    return parts.Dense(
        weight.shape[1],
        weight.shape[0],
        bias=shift is not None,
        activation_function=torch.nn.Identity(),
        init_weight=torch.as_tensor(weight, dtype=kind),
        init_bias=None if shift is None else torch.as_tensor(shift, dtype=kind),
    )
