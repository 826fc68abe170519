"""One file per result: whole or not there, checked when read, and never run.

The file is a safetensors file, which any tool of the field can open. Its metadata
hold the tree of the result (:mod:`dlfb.utils.packing`), the key of what was asked,
the format's version, and the SHA-256 of the whole file, taken with zeros in the
checksum's own place. Nothing in it is code, and no name in it is used as a path.

A result kept at ``proteins/models/mlp`` lies in ``proteins/models/mlp.dlfb``: the
suffix is added to what was asked for unless it is there already.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1
SUFFIX = ".dlfb"
SET_ASIDE = 3  # How many damaged files of one name are kept.
WAIT_QUIETLY = 5.0  # Seconds to wait for another process before saying so.

_CHECKSUM = b'"sha256":"'
_DTYPES = {
    "|b1": "BOOL", "|u1": "U8", "|i1": "I8", "<u2": "U16", "<i2": "I16", "<u4": "U32",
    "<i4": "I32", "<u8": "U64", "<i8": "I64", "<f2": "F16", "<f4": "F32", "<f8": "F64",
}  # fmt: skip


class Damaged(ValueError):
    """A file that is not what was once written."""


class Newer(ValueError):
    """A file written by a later version of dlfb."""


class Record(NamedTuple):
    """What a file holds: the packed result, and the key of what was asked (None if unknown)."""

    tree: Any
    arrays: dict[str, memoryview]
    key: dict | None


def store_file(store_path: str | os.PathLike) -> Path:
    """Return the file in which the result of this `store_path` is kept."""
    path = Path(store_path).expanduser().absolute()
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def write(path: Path, tree: Any, arrays: dict[str, Any], key: dict | None) -> None:
    """Write a result so that a reader finds the old file or the new one, whole.

    Raises
    ------
    OSError
        If the disk is full, the folder can't be written to, and the like. The
        file at `path` is then as it was.
    """
    header = _header(tree, arrays, key)
    digest = hashlib.sha256(header)
    for array in arrays.values():
        digest.update(_bytes(array))
    start = header.index(_CHECKSUM) + len(_CHECKSUM)
    header[start : start + 64] = digest.hexdigest().encode()
    with replacing(path) as file:
        file.write(header)
        for array in arrays.values():
            file.write(_bytes(array))


@contextlib.contextmanager
def replacing(path: Path):
    """Open a file to write to; at the end it takes the place of `path` in one step.

    What is written lies aside, is flushed to the disk, and renamed; then the folder is
    flushed too. After an error, or a kill at any instant, `path` is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with open(aside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    _flush_folder(path.parent)


def read(path: Path) -> Record:
    """Read and check a result.

    Raises
    ------
    Damaged
        If the file is not, byte for byte, one that :func:`write` wrote.
    Newer
        If it is whole, but in a format that this version does not know.
    OSError
        If it can't be read, or is not there.
    """
    data = memoryview(Path(path).read_bytes())
    size = 8 + int.from_bytes(data[:8], "little")
    header = bytes(data[8:size])
    start = header.find(_CHECKSUM) + len(_CHECKSUM)
    expected = header[start : start + 64]
    digest = hashlib.sha256(data[: 8 + start])
    digest.update(b"0" * 64)
    digest.update(data[8 + start + 64 :])
    if size > len(data) or digest.hexdigest().encode() != expected:
        raise Damaged("its checksum does not agree with its content")
    try:
        tensors = json.loads(header)
        metadata = tensors.pop("__metadata__")
        version = int(metadata["dlfb_format"])
        if version > FORMAT:
            raise Newer(f"it is in format {version}, and this dlfb reads format {FORMAT}")
        arrays = {n: _slice(data[size:], *t["data_offsets"]) for n, t in tensors.items()}
        key = json.loads(metadata["key"])
        if key is not None and not {"function", "arguments"} <= key.keys():
            raise ValueError("its key is none")
        return Record(json.loads(metadata["tree"]), arrays, key)
    except Newer:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"it does not have the form of a result ({error})") from error


def set_aside(path: Path) -> Path:
    """Rename a damaged file to ``*.damaged`` and return its new name.

    At most three of a name are kept; the oldest gives way.
    """
    names = [path.with_name(f"{path.name}.{i}.damaged") for i in range(1, SET_ASIDE + 1)]
    free = [name for name in names if not name.exists()]
    target = free[0] if free else min(names, key=lambda name: name.stat().st_mtime)
    os.replace(path, target)
    return target


@contextlib.contextmanager
def locked(path: Path):
    """Hold the lock of a result's file; other processes and threads wait.

    What an earlier, killed writer left is swept away. Where there can be no lock
    (a read-only folder, a file system without locks) the block runs without one.
    """
    lock_file = path.with_name(f".{path.name}.lock")
    lock = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(lock_file, os.O_CREAT | os.O_RDWR, 0o666))
        lock = _acquired(lock_file, path)
        for stray in path.parent.iterdir():
            if stray.name.startswith(f".{path.name}.") and stray.suffix == ".tmp":
                stray.unlink(missing_ok=True)
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _acquired(lock_file: Path, path: Path):
    from filelock import FileLock, Timeout

    # One lock a process, so that a kept function may call another kept at the same path.
    lock = FileLock(lock_file, is_singleton=True)
    try:
        return lock.acquire(timeout=WAIT_QUIETLY).lock
    except Timeout:
        print(f"Waiting for another process that is computing the result for {path}.", flush=True)
        return lock.acquire(timeout=-1).lock


def _header(tree: Any, arrays: dict[str, Any], key: dict | None) -> bytearray:
    """Return the length and the JSON header of a safetensors file, the checksum still zeros."""
    metadata = {
        "sha256": "0" * 64,  # First, so that the first match in the header is the right one.
        "dlfb_format": str(FORMAT),
        "key": json.dumps(key),
        "tree": json.dumps(tree),
    }
    tensors: dict[str, Any] = {"__metadata__": metadata}
    stop = 0
    for name, array in arrays.items():
        start, stop = stop, stop + array.nbytes
        kind = _DTYPES.get(array.dtype.str)
        shape = list(array.shape) if kind else [array.nbytes]
        tensors[name] = {"dtype": kind or "U8", "shape": shape, "data_offsets": [start, stop]}
    header = json.dumps(tensors, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return bytearray(len(header).to_bytes(8, "little") + header)


def _bytes(array):
    import numpy as np

    return array.reshape(-1).view(np.uint8) if array.nbytes else b""


def _slice(data: memoryview, start: int, stop: int) -> memoryview:
    if not 0 <= start <= stop <= len(data):
        raise ValueError("an array lies outside the file")
    return data[start:stop]


def _flush_folder(folder: Path) -> None:
    # Not every system can open a folder; the file itself is safe by then.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
