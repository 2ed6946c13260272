"""Rows in the files of other libraries: FAISS indexes, torch files, HDF5. Nothing of them runs."""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from typing import Any

import numpy as np

from isthmus.core.libraries import library
from isthmus.data.columns import find_vectors
from isthmus.data.dtypes import decode, stored_as
from isthmus.data.file_errors import choose, damaged, file_size
from isthmus.data.source import IDS, VECTORS
from isthmus.data.tables import Found, table_rows
from isthmus.errors import CorruptFile, FileError, IsthmusError, ShapeError

_LOG = logging.getLogger("isthmus.data")
_FLOATS = ("IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexHNSWFlat", "IndexIVFFlat")
"""Indexes that hold the vectors themselves."""


def read_faiss(path: str, key: str | None, what: str) -> Found:
    """The vectors of an index through its ``reconstruct``; says where they are decoded ones.

    FAISS itself reads the file: open only files that you trust.

    Cost: all vectors in memory, O(n d).
    """
    if key is not None:
        raise FileError("no-keys", f"{what} asks for the key '{key}', but it is a FAISS index")
    return faiss_rows(faiss_index(path, what), what)


def faiss_index(path: str, what: str) -> Any:
    """The index in a file."""
    import faiss

    file_size(path)
    try:
        return faiss.read_index(path)
    except RuntimeError as wrong:
        raise damaged(what, "FAISS index") from wrong


def faiss_rows(index: Any, what: str, *, said: bool = True) -> Found:
    """Rows and ids of an index; unless ``said`` is false, rows that are decoded are named so."""
    import faiss

    ids, inner = None, index
    if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        ids, inner = faiss.vector_to_array(index.id_map), faiss.downcast_index(index.index)
    ivf = faiss.try_extract_index_ivf(inner)
    if ivf is not None:
        ivf.make_direct_map()
    try:
        rows = inner.reconstruct_n(0, inner.ntotal)
    except RuntimeError as wrong:
        raise FileError(
            "no-vectors", f"{what} is a {type(inner).__name__}, which does not give vectors back"
        ) from wrong
    if said and type(inner).__name__ not in _FLOATS:
        _LOG.warning(
            "%s: rows are decoded from the codes of %s; exact search of them is not exact search "
            "of the vectors that were coded",
            what,
            type(inner).__name__,
        )
    return rows, ids


def read_hdf5(path: str, key: str | None, what: str) -> Found:
    """One data set of two axes."""
    h5py = library("h5py", "Reading HDF5", "h5py", "hdf5")
    file_size(path)
    try:
        with h5py.File(path, "r") as file:
            entries: dict[str, str] = {}

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    fits = len(item.shape) == 2 and item.dtype.kind == "f"
                    entries[name] = ("" if fits else "-") + f"{item.dtype} {item.shape}"

            file.visititems(visit)
            return np.asarray(file[choose(what, f"'{path}'", key, entries, "key")]), None
    except OSError as wrong:
        raise damaged(what, "HDF5 file") from wrong


def read_lance(path: str, key: str | None, what: str) -> Found:
    """The vectors of a Lance data set (a folder), and its ids."""
    lance = library("lance", "Reading Lance", "pylance", "lance")
    try:
        found = lance.dataset(path)
        names = found.schema.names
        named = key or next((name for name in VECTORS if name in names), None)
        vectors = find_vectors(found.schema, what, path, named)
        wanted = [*vectors.columns, *(n for n in IDS if n in names and n not in vectors.columns)]
        return table_rows(found.to_table(columns=wanted), key or named, what, path)
    except IsthmusError:
        raise
    except (OSError, ValueError, RuntimeError) as wrong:
        raise damaged(what, "Lance data set") from wrong


def read_torch(path: str, key: str | None, what: str) -> Found:
    """A tensor, a dict with one matrix, or a dict of one vector an id, without torch.

    Only the parts of a torch file that describe tensors are understood; a file that names anything
    else, which unpickling would run, is refused.
    """
    file_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(names) != 1:
                raise CorruptFile(
                    "wrong-kind",
                    f"{what} is no torch file of this decade; save it again with torch.save",
                )
            parser = _Tensors(archive, names[0].removesuffix("data.pkl"), what)
            found = parser.load()
    except zipfile.BadZipFile as wrong:
        raise CorruptFile(
            "wrong-kind", f"{what} is no zip archive, as torch files are; {CONVERT}"
        ) from wrong
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, ValueError, TypeError) as wrong:
        if isinstance(wrong, FileError | CorruptFile | ShapeError):
            raise
        raise damaged(what, "torch file") from wrong
    return _matrix_of(found, key, what, path)


CONVERT = (
    "a pickle can run code when it is loaded and is never loaded here; where you trust it, convert "
    "it: import pickle, numpy; x = pickle.load(open('FILE', 'rb')); "
    "numpy.save('rows.npy', numpy.stack(list(x.values())) if isinstance(x, dict) else x)"
)
"""What to do about a pickle: for an array, a list of vectors, or a dict of one vector an id."""
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "V2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


class _Tensors(pickle.Unpickler):
    """Reads the description of tensors; every name but theirs is refused, so nothing is run."""

    def __init__(self, archive: zipfile.ZipFile, root: str, what: str) -> None:
        super().__init__(io.BytesIO(archive.read(root + "data.pkl")))
        self.archive, self.root, self.what = archive, root, what

    def find_class(self, module: str, name: str) -> Any:
        """Stand-ins of our own for the few names that tensors need."""
        if module == "torch" and name in _STORAGES:
            return name
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise FileError(
            "not-tensors",
            f"{self.what} names '{module}.{name}', which is no tensor; save plain tensors alone",
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The numbers of one storage."""
        _, kind, name, _, count = pid
        dtype = np.dtype(_STORAGES[kind])
        raw = self.archive.read(f"{self.root}data/{name}")
        if len(raw) < int(count) * dtype.itemsize:
            raise damaged(self.what, "torch file")
        flat = np.frombuffer(raw, dtype, int(count))
        half = kind == "BFloat16Storage"  # as raw 16 bits: NumPy has no such number
        return decode(flat.view(np.uint16), stored_as(dtype)) if half else flat


def _rebuilt(storage: np.ndarray, offset: int, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """A tensor from its storage; sizes and strides must stay inside it."""
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    last = int(offset) + sum((n - 1) * s for n, s in zip(size, stride)) if all(size) else 0
    if min((int(offset), *size, *stride), default=0) < 0 or last >= max(len(storage), 1):
        raise ValueError("a tensor reaches beyond its storage")
    steps = tuple(s * storage.itemsize for s in stride)
    part = storage[int(offset) :]
    return np.lib.stride_tricks.as_strided(part, size, steps, writeable=False).copy()


def _matrix_of(found: Any, key: str | None, what: str, path: str) -> Found:
    if isinstance(found, np.ndarray) and key is None:
        return _two_axes(found, what), None
    if isinstance(found, list) and found and all(isinstance(v, np.ndarray) for v in found):
        return np.concatenate([v.reshape(-1, v.shape[-1]) for v in found]), None
    if isinstance(found, dict):
        arrays = {str(k): v for k, v in found.items() if isinstance(v, np.ndarray) and v.ndim}
        vectors = [v.reshape(-1) for v in arrays.values() if v.ndim == 1 or v.shape[0] == 1]
        one_each = len(vectors) == len(arrays) > 1 and len({len(v) for v in vectors}) == 1
        if key is None and one_each:
            return np.stack(vectors), np.array(list(arrays))
        entries = {
            k: ("" if v.ndim == 2 and v.dtype.kind == "f" else "-") + f"{v.dtype} {v.shape}"
            for k, v in arrays.items()
        }
        return _two_axes(arrays[choose(what, f"'{path}'", key, entries, "key")], what), None
    raise FileError("no-key", f"{what} holds no tensor of rows")


def _two_axes(rows: np.ndarray, what: str) -> np.ndarray:
    if rows.ndim != 2:
        raise ShapeError("not-two-axes", f"{what} has shape {rows.shape}; expected (rows, dim)")
    return rows
