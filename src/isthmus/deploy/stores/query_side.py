"""The query side of a deployment as Python to be pasted: NumPy and the store's own client."""

from __future__ import annotations

from isthmus.deploy.export.stores import Evened
from isthmus.deploy.stores.forms import Form
from isthmus.deploy.stores.store import Mark, Store

_TEMPLATE = '''"""Search {store}
with queries moved by {closer}. Made by isthmus deploy; needs NumPy and {client}."""

import json
from pathlib import Path

import numpy as np

STEPS = json.loads(Path(__file__).with_name("closer.json").read_text(encoding="utf-8"))["query"]
ZEROS = {zeros}  # coordinates that only candidates use


def query_vector(query):
    """One query (d,) as the encoder gives it -> the vector to search with."""
    q = np.asarray(query, np.float64)
    for step in STEPS:
        if step["unit_in"]:
            q = q / np.linalg.norm(q)
        if step["matrix"] is not None:
            q = np.asarray(step["matrix"]) @ q
        if step["offset"] is not None:
            q = q + np.asarray(step["offset"])
        if step["unit_out"]:
            q = q / np.linalg.norm(q)
    return np.append(q, np.zeros(ZEROS)).astype(np.float32)


{example}
'''


def query_side(form: Form, store: Store, mark: Mark) -> str:
    """The text of ``query.py``: ``query_vector(query)`` and ``search(query, k)``."""
    zeros = form.padding + isinstance(form.closer, Evened)
    return _TEMPLATE.format(
        store=store.address.shown,
        closer=form.closer.name,
        client=store.client,
        zeros=zeros,
        example=store.example(mark).strip(),
    )
