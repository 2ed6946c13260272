"""A closer as plain numbers in JSON, for programs that have neither Isthmus nor NumPy.

Numbers are float64, written so that they read back bit by bit. ``docs/export.md`` has the keys.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from isthmus.closers.maps import AffineMap, Chain, Closer, Guarantee, RowMap
from isthmus.deploy.export.stores import Evened
from isthmus.errors import CorruptFile, IsthmusError, ValuesError

SCHEMA = 1
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
        "facts": {key: float(value) for key, value in inner.facts.items()},
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


def from_json(text: str) -> Closer | Evened:
    """What :func:`to_json` wrote, the same numbers bit by bit.

    Raises:
        CorruptFile: it is no JSON, no closer, or its parts do not fit together.
    """
    try:
        fields = json.loads(text)
    except IsthmusError:
        raise
    except ValueError as wrong:
        raise CorruptFile(
            "damaged-file", f"this is no JSON ({wrong}); expected what to_json wrote"
        ) from None
    if not isinstance(fields, dict) or fields.get("isthmus") != "closer":
        raise CorruptFile("wrong-kind", "this JSON is no closer; expected what to_json wrote")
    if fields.get("schema") != SCHEMA:
        raise CorruptFile(
            "unknown-version", f"this closer has schema {fields.get('schema')}, expected {SCHEMA}"
        )
    try:
        query, candidate = (_map(fields[role], role) for role in ("query", "candidate"))
        bias = None if fields["bias"] is None else np.asarray(fields["bias"], np.float64)
        if bias is not None and bias.shape != (candidate.dim,):
            raise ValueError(f"bias has shape {bias.shape}, expected ({candidate.dim},)")
        closer = Closer(
            str(fields["name"]),
            str(fields["score"]),
            float(fields["strength"]),
            query,
            candidate,
            Guarantee(**fields["guarantee"]),
            bias,
            {str(key): float(value) for key, value in fields["facts"].items()},
            int(fields["memo"]),
        )
        if "evened" not in fields:
            return closer
        return Evened(closer, str(fields["evened"]["score"]), float(fields["evened"]["limit"]))
    except IsthmusError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as missing:
        raise CorruptFile(
            "damaged-file",
            f"this closer has a part missing or unreadable ({missing}); write it again",
        ) from None


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
        dim, out = int(one["dim"]), int(one["dim_out"])
        matrix = None if one["matrix"] is None else np.asarray(one["matrix"], np.float64)
        offset = None if one["offset"] is None else np.asarray(one["offset"], np.float64)
        fits = (matrix.shape == (out, dim)) if matrix is not None else out == dim
        fits = fits and (offset is None or offset.shape == (out,))
        fits = fits and (not steps or steps[-1].dim_out == dim)
        if not fits:
            raise ValueError(f"step {len(steps)} of {role} does not fit: {dim} to {out}")
        steps.append(AffineMap(dim, matrix, offset, bool(one["unit_in"]), bool(one["unit_out"])))
    if not steps:
        raise ValueError(f"{role} has no step")
    return steps[0] if len(steps) == 1 else Chain(tuple(steps))
