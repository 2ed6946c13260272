"""Files that are not read here, by suffix: what each is, and the line that makes rows of it."""

from __future__ import annotations

import os

_SAVE = "numpy.save('rows.npy', {})"
_RAW = "raw numbers without their shape"
_SQLITE = "a SQLite database: write its address, sqlite:FILE?table=T&column=C"
_PACKED = "packed: unpack it first"
UNREAD = {
    ".h5ad": f"AnnData: {_SAVE.format('adata.obsm[KEY]')}",
    ".mat": f"a MATLAB file: {_SAVE.format('scipy.io.loadmat(FILE)[KEY]')}",
    ".bin": f"{_RAW}: {_SAVE.format('numpy.fromfile(FILE, dtype).reshape(-1, dim)')}",
    ".dat": f"{_RAW}: {_SAVE.format('numpy.fromfile(FILE, dtype).reshape(-1, dim)')}",
    ".fbin": "a count, a dimension and float32 values: x = numpy.fromfile(FILE, 'uint32'); "
    + _SAVE.format("x[2:].view('float32').reshape(x[0], x[1])"),
    ".fvecs": "a dimension before each float32 row: x = numpy.fromfile(FILE, 'int32'); "
    + _SAVE.format("x.reshape(-1, x[0] + 1)[:, 1:].copy().view('float32')"),
    ".ann": "an Annoy index: index.load(FILE); "
    + _SAVE.format("numpy.array([index.get_item_vector(i) for i in range(index.get_n_items())])"),
    ".usearch": "a USearch index: index = usearch.index.Index.restore(FILE); "
    + _SAVE.format("index.get(index.keys[:])"),
    ".hnsw": f"an hnswlib index: {_SAVE.format('index.get_items(index.get_ids_list())')}",
    ".sqlite": _SQLITE,
    ".sqlite3": _SQLITE,
    ".db": _SQLITE,
    ".duckdb": "a DuckDB database: COPY (SELECT id, embedding FROM t) TO 'rows.parquet'",
    ".zarr": f"a Zarr array: {_SAVE.format('zarr.open(FILE)[:]')}",
    ".tfrecord": "TensorFlow records: parse them and numpy.save the matrix",
    ".orc": "ORC: pyarrow.parquet.write_table(pyarrow.orc.read_table(FILE), 'rows.parquet')",
    ".xlsx": "a spreadsheet: pandas.read_excel(FILE).to_parquet('rows.parquet')",
    ".vec": f"word2vec text: {_SAVE.format('numpy.loadtxt(FILE, skiprows=1, usecols=...)')}",
    ".txt": "text without a format: name it .csv where it is one",
    ".ckpt": "a checkpoint: torch.save the one tensor of rows as a .pt file",
    ".onnx": "a model, which has no rows yet: isthmus embed onnx:FOLDER makes some",
    ".rds": "an R object: write it from R with arrow::write_parquet",
    ".gz": _PACKED,
    ".zip": _PACKED,
    ".tar": _PACKED,
    ".zst": _PACKED,
}
"""Suffix -> what it is and what to do, FILE being its name."""


def unread(path: str) -> str | None:
    """The sentence about a file of this name, or None where nothing is known of its suffix."""
    known = UNREAD.get(os.path.splitext(path)[1].lower())
    return None if known is None else f"'{path}' is not read here; it is {known}"
