"""A closer as plain numbers in JSON, for programs that have neither Isthmus nor NumPy.

Numbers are float64, written so that they read back bit by bit. ``docs/export.md`` has the keys.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from isthmus.closers.closer import KEYS, Closer, Guarantee
from isthmus.closers.maps import AffineMap, Chain, RowMap
from isthmus.data.atomic import plain
from isthmus.data.file_errors import parse_json
from isthmus.data.saved import SCHEMA, Parts
from isthmus.deploy.export.stores import Evened
from isthmus.errors import ValuesError
from isthmus.search.scores import SCORES

RECIPE = (
    "rows of a role pass its steps in turn: divide by the norm if unit_in, then matrix times row "
    "(null: leave out), then plus offset (null: leave out), then divide by the norm if unit_out; "
    "ranking = score(query, candidate) + bias . candidate as it enters its first step (a unit row "
    "if unit_in); for euclidean the score is minus half the squared distance; with 'evened', "
    "append sqrt(limit - squares * |row|^2 - 2 * bias) to candidates and 0 to queries, and rank "
    "by its score alone"
)


def to_json(closer: Closer | Evened) -> str:
    """One JSON object: maps step by step, bias weights, score, guarantee, facts.

    Raises:
        ValuesError: a number is not finite, which JSON has no form for.
    """
    inner = closer.closer if isinstance(closer, Evened) else closer
    fields: dict[str, Any] = {
        "isthmus": "closer",
        "schema": SCHEMA,
        "recipe": RECIPE,
        "name": inner.name,
        "score": inner.score,
        "strength": float(inner.strength),
        "query": [_step(step) for step in inner.query.steps],
        "candidate": [_step(step) for step in inner.candidate.steps],
        "bias": None if inner.bias_weights is None else inner.bias_weights.tolist(),
        "memo": inner.memo,
        "guarantee": inner.guarantee.to_dict(),
        "facts": plain(dict(inner.facts)),
    }
    if isinstance(closer, Evened):
        fields["evened"] = {
            "score": closer.score,
            "limit": closer.limit,
            "squares": int(closer.squares),
        }
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        raise ValuesError(
            "not-finite",
            f"{inner.name} holds numbers that are not finite; fit it again on finite rows",
        ) from None


class JsonCloser(Closer):
    """A closer whose parts stand in one JSON object."""

    MADE_BY = "isthmus export --to json"

    @classmethod
    def _from_parts(cls, parts: Parts) -> Any:
        bias = parts.value("bias")
        closer = Closer(
            parts.text("name"),
            parts.text("score", *SCORES),
            parts.number("strength"),
            _map(parts.value("query"), "query"),
            _map(parts.value("candidate"), "candidate"),
            Guarantee.read(parts.value("guarantee")),
            None if bias is None else np.asarray(bias, np.float64),
            parts.facts(),
            parts.count("memo"),
        ).checked()
        if "evened" not in parts.fields:
            return closer
        evened = Parts.of(parts.value("evened"))
        return Evened(closer, evened.text("score", *SCORES), evened.number("limit"))


def from_json(text: str, place: str = "the text") -> Closer | Evened:
    """What :func:`to_json` wrote, the same numbers bit by bit.

    Raises:
        CorruptFile: it is no JSON, no closer, or its parts do not fit together.
    """
    fields = parse_json(text, f"'{place}'")
    return JsonCloser.read(place, fields, fields)


def _step(step: AffineMap) -> dict[str, Any]:
    return {
        "dim": step.dim,
        "dim_out": step.dim_out,
        "unit_in": bool(step.normalised),
        "matrix": None if step.matrix is None else step.matrix.tolist(),
        "offset": None if step.offset is None else step.offset.tolist(),
        "unit_out": bool(step.renormalised),
    }


def _map(fields: list[dict[str, Any]], role: str) -> RowMap:
    steps: list[AffineMap] = []
    for one in fields:
        matrix, offset = (
            None if one[part] is None else np.asarray(one[part], np.float64)
            for part in ("matrix", "offset")
        )
        stated = Parts.of(one)
        steps.append(AffineMap(stated.count("dim", 1), matrix, offset, *map(stated.flag, KEYS)))
        out = stated.count("dim_out", 1)
        if steps[-1].dim_out != out:
            raise ValueError(f"step {len(steps) - 1} of {role} does not lead to {out} dimensions")
    if not steps:
        raise ValueError(f"{role} has no step")
    return steps[0] if len(steps) == 1 else Chain(tuple(steps))
