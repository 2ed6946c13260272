"""Files: rows of embeddings in and out, streaming, checked, and written beside and renamed."""

from isthmus.io.atomic import atomic_path, write_json
from isthmus.io.opening import open_rows
from isthmus.io.source import ArraySource, RowSource
from isthmus.io.tensors import load_tensors, save_tensors

__all__ = [
    "ArraySource",
    "RowSource",
    "atomic_path",
    "load_tensors",
    "open_rows",
    "save_tensors",
    "write_json",
]
