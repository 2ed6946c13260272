"""Files: rows of embeddings in and out, streaming, checked, and written beside and renamed."""

from isthmus.io.atomic import atomic_path, write_json
from isthmus.io.labels import read_labels, read_relevance
from isthmus.io.opening import open_rows
from isthmus.io.source import ArraySource, RowSource
from isthmus.io.tensors import load_tensors, save_tensors
from isthmus.io.writer import RowWriter, write_rows

__all__ = [
    "ArraySource",
    "RowSource",
    "RowWriter",
    "atomic_path",
    "load_tensors",
    "open_rows",
    "read_labels",
    "read_relevance",
    "save_tensors",
    "write_json",
    "write_rows",
]
