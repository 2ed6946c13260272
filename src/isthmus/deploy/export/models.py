"""Into torch models: a module per role, SigLIP's last biases, a wrapper around OpenCLIP."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, Role
from isthmus.closers.maps import AffineMap
from isthmus.core.checks import one_of
from isthmus.core.libraries import library
from isthmus.deploy.export.stores import Evened
from isthmus.errors import CloserError, OptionError, ShapeError

SIDES = ("image", "text")


def torch_module(closer: Closer | Evened, role: Role) -> Any:
    """One role of a closer as a ``torch.nn.Module``: rows (…, d) -> (…, r), buffers in float32.

    ``module.candidate_bias(rows)`` gives the candidates' biases. It moves with ``.to(device)``,
    its state dict saves, and it needs no Isthmus to run once traced. What it gives is the NumPy
    path's within 1e-5 of the row's length.

    Raises:
        MissingExtra: torch is not installed. CloserError: an unknown role.
    """
    library("torch", "A torch module", "torch", "torch")
    from isthmus.deploy.export.torch_parts import ClosingModule

    return ClosingModule(closer, role)


def wrap_open_clip(clip: Any, closer: Closer | Evened, *, query: str = "image") -> Any:
    """An OpenCLIP model whose ``encode_image`` and ``encode_text`` give closed rows.

    A CLIP projection has no bias: one that is added to the model is dropped when its weights are
    loaded again. So the closer stands around the model, in a module of its own. Save its
    ``state_dict()``, and load it into a wrapper of the same model and closer; a plain model refuses
    it. ``normalize=True`` is refused unless the closer is searched by cosine.

    Args:
        clip: what ``open_clip.create_model`` returns, or anything with its two ``encode_…``.
        query: ``image`` or ``text``: which side asks. The other holds the candidates, whose biases
            ``wrapped.candidate_bias(inputs)`` gives.

    Raises:
        MissingExtra: torch is not installed. OptionError: an unknown side.
    """
    _side(query)
    library("torch", "A closed OpenCLIP model", "torch", "open-clip")
    from isthmus.deploy.export.torch_parts import ClosedClip

    return ClosedClip(clip, closer, query)


def fold_into_siglip(model: Any, closer: Closer, *, query: str = "image") -> list[str]:
    """Add a closer to the last biases of a SigLIP or SigLIP 2, in place; no code is needed after.

    SigLIP's heads give rows before they are normalised, and a bias there adds a vector to those.
    So it is exact for closers fitted on rows as they come (``normalised=False``), and only for
    them: x/‖x‖ + b is no x + b'. The text head is linear and takes a matrix too; the image head
    adds its bias to what passes it by, so a matrix has no place there. A map that ends by
    normalising is left to the model, whose own scores are cosine: ``get_…_features`` then gives
    the rows before. The model's logits are those of the closer where that is searched by cosine;
    for another score take the rows of ``get_…_features``.

    Args:
        model: a ``transformers`` SiglipModel or Siglip2Model.
        query: ``image`` or ``text``: which side asks.

    Returns:
        Names of the parameters that changed.

    Raises:
        CloserError: the closer has no exact form there; nothing is changed then.
        ShapeError: the model gives rows of another length. OptionError: an unknown side, or a
        model without SigLIP's two heads.
    """
    _side(query)
    torch = library("torch", "Folding into SigLIP", "torch", "transformers")
    try:
        vision = model.vision_model.head.mlp.fc2
        text = model.text_model.head
        vision.bias, text.bias, text.weight  # noqa: B018
    except AttributeError:
        raise OptionError(
            "wrong-model",
            f"a {type(model).__name__} has no vision_model.head.mlp.fc2 and text_model.head with "
            "biases; expected a SiglipModel or Siglip2Model with its heads",
        ) from None
    maps = _siglip_maps(closer, query, {"image": vision, "text": text})
    changed = []
    with torch.no_grad():
        matrix, shift = maps["text"].matrix, maps["text"].offset
        if matrix is not None:
            for kept in (text.weight, text.bias):  # A(Wx + b) = (AW)x + Ab
                kept.copy_(torch.as_tensor(matrix @ kept.detach().double().cpu().numpy()))
            changed += ["text_model.head.weight", "text_model.head.bias"]
        if shift is not None and shift.any():
            _add(torch, text.bias, shift)
            changed += [] if matrix is not None else ["text_model.head.bias"]
        shift = maps["image"].offset
        if shift is not None and shift.any():
            _add(torch, vision.bias, shift)
            changed.append("vision_model.head.mlp.fc2.bias")
    return changed


def _siglip_maps(closer: Closer, query: str, heads: dict[str, Any]) -> dict[str, AffineMap]:
    """The map behind each head, or the refusal of what has no exact form there."""
    if closer.bias_weights is not None and closer.bias_weights.any():
        raise CloserError(
            "bias-has-no-place",
            f"{closer.name} has a bias per candidate, and SigLIP's own bias is one number for "
            "all; use a closer without candidate bias, or a torch module",
        )
    if closer.score != "cosine" and (closer.query.renormalised or closer.candidate.renormalised):
        raise CloserError(
            "normalised-differs",
            f"{closer.name} normalises rows that are searched by {closer.score}, and the heads "
            "give rows before that; search by cosine, or use a torch module",
        )
    image: Role = "query" if query == "image" else "candidate"
    words: Role = "candidate" if query == "image" else "query"
    maps = {"image": _raw(closer, image), "text": _raw(closer, words)}
    if maps["image"].matrix is not None:
        raise CloserError(
            "matrix-has-no-place",
            f"{closer.name} multiplies {image} rows by a matrix, and SigLIP's image head can only "
            "add a vector; make the images the other role, or use a torch module",
        )
    for name, head in heads.items():
        size = int(head.bias.shape[0])
        if maps[name].dim != size or maps[name].dim_out != size:
            raise ShapeError(
                "unequal-dimensions",
                f"the closer's {name} map takes {maps[name].dim} dimensions to "
                f"{maps[name].dim_out}, the model has {size} on both sides of it; fit it on rows "
                "of this model, without dropping dimensions",
            )
    return maps


def _add(torch: Any, bias: Any, shift: np.ndarray) -> None:
    bias.copy_(torch.as_tensor(bias.detach().double().cpu().numpy() + shift))


def _raw(closer: Closer, role: Role) -> AffineMap:
    """One role's map of rows before they are normalised, or the sentence why there is none."""
    side = closer.map_of(role)
    if side.is_identity:
        return AffineMap(side.dim)
    if not isinstance(side, AffineMap) or side.normalised:
        raise CloserError(
            "normalised-differs",
            f"{closer.name} moves {role} rows after normalising them, and a SigLIP head gives rows "
            "before that, where no bias does the same; fit it with normalised=False on the model's "
            "own rows, or use a torch module",
        )
    return side


def _side(query: str) -> None:
    one_of(query, SIDES, "query", "unknown-side")
