"""One safetensors file per result: whole or not there, checked when it is read, and never run.

Its metadata hold the result's tree as JSON (arrays and tables are in it by number), the key of what
was asked, and the SHA-256 of all of it. Reading takes no more memory than the file.
"""

import contextlib
import hashlib
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from dlfb.utils.context import expanded

SUFFIX = ".dlfb"
WAIT_QUIETLY = 5.0  # seconds to wait for another process before saying so


class Damaged(ValueError):
    """A file that is not what was once written, or a state without one to restore it into."""


class Record(NamedTuple):
    """What a file holds: the key of what was asked, if any, and the packed value."""

    key: dict | None
    tree: Any
    arrays: dict[str, Any]

    def value(self, like: Any = None) -> Any:
        """Return the value; a trained state in it takes its type from one of its form in `like`."""
        with _damage_told():
            # A copy, as each array is used up: one named twice would take twice the memory.
            return _unpack(self.tree, dict(self.arrays), _states(like))


def store_file(path: str | os.PathLike) -> Path:
    """Return the file in which the result of this `store_path` is kept, which ends in .dlfb."""
    path = expanded(path).absolute()
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def write(path: Path, value: Any, key: dict | None = None, like: Any = None) -> None:
    """Keep a value, so that a reader finds the old file or the new one, whole.

    TypeError if a part of the value can't be kept, OSError if the file can't be written.
    """
    from safetensors.numpy import save

    arrays: dict[str, Any] = {}
    header = json.dumps({"tree": _pack(value, arrays, _states(like)), "key": key})
    data = save(arrays, {"dlfb": header, "sha256": _checksum(header, arrays)})
    # Only the holder of the lock of `path` writes: what a killed process left is overwritten.
    aside = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        read(aside).value(like)  # what could not be read again is refused now
        os.replace(aside, path)
    finally:
        with contextlib.suppress(OSError):  # most often that it is not there any more
            aside.unlink()


def read(path: Path) -> Record:
    """Return what is kept at `path`; `Damaged` if it is not, bit for bit, what was written."""
    from safetensors import safe_open

    with _damage_told():
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _checksum(about["dlfb"], arrays) != about["sha256"]:
            raise Damaged("its checksum does not agree with its content")
        header = json.loads(about["dlfb"])
        if not isinstance(header["key"], dict | None):
            raise Damaged("its key is not a dictionary")
        return Record(header["key"], header["tree"], arrays)


def set_aside(path: Path, error: Damaged) -> str:
    """Rename a damaged file to ``*.damaged``; return a sentence that says so, without its stop."""
    try:
        os.replace(path, f"{path}.damaged")
        where = f"was set aside as {path.name}.damaged"
    except OSError as why:
        where = f"could not be set aside ({why})"
    return f"The result at {path} can't be used: {error}. It {where}"


@contextlib.contextmanager
def locked(path: Path):
    """Let one process or thread at a time through; without a lock where there can be none."""
    from filelock import FileLock, Timeout

    # One lock per process, so that a kept function may call another kept at the same path.
    lock = FileLock(path.with_name(f".{path.name}.lock"), is_singleton=True)
    with contextlib.ExitStack() as stack:
        # A folder may be read-only, and a file system may have no locks.
        with contextlib.suppress(OSError, NotImplementedError):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(lock.acquire(timeout=WAIT_QUIETLY))
            except Timeout:
                print(f"Waiting for another process that is computing {path}.", flush=True)
                stack.enter_context(lock.acquire())
        yield


@contextlib.contextmanager
def _damage_told():
    """Turn whatever a file that write() did not write runs into into `Damaged`."""
    try:
        yield
    except (Damaged, OSError, MemoryError, ImportError):
        raise
    except Exception as error:
        raise Damaged(f"it is not a whole file of results ({error!r})") from error


def _checksum(header: str, arrays: dict) -> str:
    total = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        total.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        total.update(arrays[name].tobytes())
    return total.hexdigest()


def _pack(value: Any, arrays: dict, states: list, where: str = "the result") -> Any:
    """Return `value` as a tree that JSON can hold; what the tree names is put into `arrays`."""
    import numpy as np
    import pandas as pd

    from dlfb.utils.tables import table_bytes

    def part(inner: Any, label: str = "") -> Any:
        return _pack(inner, arrays, states, where + label)

    def put(tag: str, array: Any) -> dict:
        name, array = f"{len(arrays)}", np.asarray(array)
        # asarray, as ascontiguousarray makes a number an array of one dimension.
        arrays[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        return {tag: name}

    kind, jax, torch = type(value), sys.modules.get("jax"), sys.modules.get("torch")
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [part(item, f"[{i}]") for i, item in enumerate(value)]
    if kind is tuple:
        return {"tuple": part(list(value))}
    if kind is dict:
        return {"dict": [[part(k, ", a key"), part(v, f"[{k!r}]")] for k, v in value.items()]}
    if kind is pd.DataFrame:
        return put("frame", table_bytes(value, where))
    if (kind is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in "biuf":
        return put("numpy" if kind is np.ndarray else "scalar", value)
    if torch and kind is torch.Tensor:
        return put("torch", value.detach().cpu().numpy())
    if jax and isinstance(value, jax.Array):
        return put("jax", value)
    for number, state in enumerate(states):
        if type(state) is kind and jax.tree.structure(state) == jax.tree.structure(value):
            return {"state": [kind.__name__, number, part(jax.tree.leaves(value))]}
    raise TypeError(
        f"{where} is a {kind.__name__}{f' of {value.dtype}' if hasattr(value, 'dtype') else ''}, "
        "which can't be kept: return arrays of numbers, tables, numbers, text, lists, tuples and "
        "dicts of these, or a state of the same structure as one that was passed."
    )


def _unpack(node: Any, arrays: dict, states: list) -> Any:
    if isinstance(node, list):
        return [_unpack(item, arrays, states) for item in node]
    if not isinstance(node, dict):
        return node
    from dlfb.utils.tables import table_of

    of_parts = {
        "tuple": tuple,
        "dict": dict,
        "state": lambda parts: _restored(*parts, states),
    }
    of_array = {
        "frame": table_of,
        "numpy": lambda array: array,
        "scalar": lambda array: array[()],
        "jax": lambda array: import_module("jax.numpy").asarray(array),
        "torch": lambda array: import_module("torch").from_numpy(array),
    }
    [(tag, content)] = node.items()
    if tag in of_parts:
        return of_parts[tag](_unpack(content, arrays, states))
    return of_array[tag](arrays.pop(content))


def _states(value: Any) -> list:
    """Return the states in `value`, from which a result can borrow its type: JAX's pytrees."""
    jax = sys.modules.get("jax")
    if isinstance(value, dict | list | tuple) and not hasattr(value, "_fields"):
        inner = value.values() if isinstance(value, dict) else value
        return [found for item in inner for found in _states(item)]
    return [value] if jax and not jax.tree_util.all_leaves([value]) else []


def _restored(name: str, number: int, leaves: list, states: list) -> Any:
    """Return a state like the one of this number, or else like another of the same form."""
    import numpy as np

    for state in [*states[number : number + 1], *states]:
        own, structure = sys.modules["jax"].tree.flatten(state)
        if type(state).__name__ == name and [*map(np.shape, own)] == [*map(np.shape, leaves)]:
            return structure.unflatten(leaves)
    raise Damaged(f"it holds a {name}, and none of that form was passed to restore it into")
