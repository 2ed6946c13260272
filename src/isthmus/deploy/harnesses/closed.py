"""An encoder and then a closer: what all harnesses share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, Role, check_role
from isthmus.deploy.export.stores import Evened
from isthmus.encoders import load_encoder
from isthmus.encoders.base import Encoder
from isthmus.errors import CloserError, OptionError, ShapeError


class ClosedEncoder:
    """Texts or images of one role in, rows as they are stored or asked with out.

    Args:
        encoder: a name, as ``isthmus embed --encoder`` takes it, or an ``Encoder``.
        closer: a closer, its file, or what ``isthmus.deploy.export.as_cosine`` makes of one; None:
            rows as the encoder gives them. Frameworks keep one vector an item and nothing beside
            it, so a candidate bias must be a coordinate: ``as_cosine`` for cosine,
            ``as_inner_product`` (a closer, which has a file) for inner product.

    Raises:
        CloserError: the closer has a candidate bias. ShapeError: it is of another model.
    """

    def __init__(
        self, encoder: str | Encoder, closer: Closer | Evened | str | os.PathLike[str] | None = None
    ) -> None:
        self.encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder
        self.closer = Closer.load(closer) if isinstance(closer, str | os.PathLike) else closer
        self.dim = self.encoder.dim
        if self.closer is None:
            return
        if isinstance(self.closer, Evened):
            maps, self.dim = self.closer.closer, self.closer.dim_out
        else:
            maps, self.dim = self.closer, self.closer.query.dim_out
            check_no_bias(maps)
        if maps.query.dim != self.encoder.dim:
            raise ShapeError(
                "wrong-dim",
                f"'{self.encoder.name}' gives {self.encoder.dim} dimensions, but {maps.name} was "
                f"fitted for {maps.query.dim}; use a closer of this model's rows",
            )

    def texts(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """(n, dim) float32."""
        return self._closed(self.encoder.encode_texts, texts, role)

    def images(self, images: Sequence[Any], role: Role) -> np.ndarray:
        """PIL images or paths -> (n, dim) float32."""
        return self._closed(self.encoder.encode_images, images, role)

    def _closed(
        self, encode: Callable[[list[Any]], np.ndarray], inputs: Sequence[Any], role: Role
    ) -> np.ndarray:
        check_role(role)
        if not len(inputs):
            return np.empty((0, self.dim), np.float32)
        rows = encode(list(inputs))
        return (
            rows if self.closer is None else np.asarray(self.closer.apply(rows, role), np.float32)
        )


def check_no_bias(closer: Closer) -> None:
    """Refuse a closer that needs a number beside each vector.

    Raises:
        CloserError: as above.
    """
    if closer.bias_weights is not None and closer.bias_weights.any():
        raise CloserError(
            "bias-apart",
            f"{closer.name} adds a bias to each candidate's score, and here are vectors alone; "
            "make it a coordinate with isthmus.deploy.export.as_cosine (or as_inner_product)",
        )


def image_path(given: Any) -> str:
    """The file of a path or a ``file://`` address.

    Raises:
        OptionError: an address of the network.
    """
    text = os.fspath(given)
    if text.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        return unquote(urlsplit(text).path)
    if "://" in text:
        raise OptionError("is-a-url", f"'{text}' is an address on a network; download it first")
    return str(Path(text))
