"""A fitted closer as torch modules, parts of models, an ONNX graph, or plain numbers.

Whatever the form, the rows are those of :meth:`isthmus.closers.closer.Closer.apply` within float32
rounding. What a form cannot hold (a bias per candidate in a model that returns one vector, a bias
behind a normalisation) is refused in one sentence, never dropped. ``docs/export.md`` has the table.

======================================  =========================================================
:func:`to_json`, :func:`from_json`      plain numbers, and back
:func:`as_inner_product`                the candidate bias as one more coordinate: again a closer
:func:`as_cosine`, :func:`as_euclidean` the same for stores that know only those scores
:func:`torch_module`                    one role as a ``torch.nn.Module``
:func:`append_to_sentence_transformer`  built-in modules behind a SentenceTransformer
:func:`fold_into_siglip`                into the last biases of a SigLIP
:func:`wrap_open_clip`                  around an OpenCLIP model
:func:`export_closer`                   any of these, from file to file, as ``isthmus export``
:func:`append_to_onnx`                  nodes behind an encoder's ONNX graph
======================================  =========================================================
"""

from isthmus.deploy.export.closer_json import from_json, to_json
from isthmus.deploy.export.forms import Exported, export_closer
from isthmus.deploy.export.models import fold_into_siglip, torch_module, wrap_open_clip
from isthmus.deploy.export.onnx_graph import append_to_onnx
from isthmus.deploy.export.sbert import append_to_sentence_transformer
from isthmus.deploy.export.stores import (
    Evened,
    as_cosine,
    as_euclidean,
    as_inner_product,
    rounding_bound,
)

__all__ = [
    "Evened",
    "Exported",
    "append_to_onnx",
    "append_to_sentence_transformer",
    "as_cosine",
    "as_euclidean",
    "as_inner_product",
    "export_closer",
    "fold_into_siglip",
    "from_json",
    "rounding_bound",
    "to_json",
    "torch_module",
    "wrap_open_clip",
]
