"""Files: rows of embeddings in and out, streaming, checked, and written atomically."""

from isthmus.data.atomic import atomic_path, write_json
from isthmus.data.labels import read_labels, read_relevance
from isthmus.data.opening import open_rows
from isthmus.data.source import ArraySource, Rows
from isthmus.data.tensors import load_tensors, save_tensors
from isthmus.data.writer import RowWriter, write_rows

__all__ = [
    "ArraySource",
    "RowWriter",
    "Rows",
    "atomic_path",
    "load_tensors",
    "open_rows",
    "read_labels",
    "read_relevance",
    "save_tensors",
    "write_json",
    "write_rows",
]
