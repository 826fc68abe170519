"""One file per result: whole or not there, checked when it is read, and never run.

The file is a safetensors file, which any tool of the field can open. Its metadata hold the result's
tree as JSON (arrays and tables are in it by number), the key of what was asked, and the SHA-256 of
all of it. Reading one imports nothing that it names, and takes no more memory than it holds.

A result kept at ``proteins/models/mlp`` is in the file ``proteins/models/mlp.dlfb``.
"""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from dlfb.utils.context import expanded

SUFFIX = ".dlfb"
WAIT_QUIETLY = 5.0  # seconds to wait for another process before saying so


class Damaged(ValueError):
    """A file that is not what was once written, or a state without one to restore it into."""


class Record(NamedTuple):
    """What a file holds: the key of what was asked (None if unknown), and the packed value."""

    key: dict | None
    tree: Any
    arrays: dict[str, Any]

    def value(self, like: Any = None) -> Any:
        """Return the value; a trained state in it takes its type from one of its form in `like`."""
        try:
            # A copy, as each array is used up: one that is named twice would take twice the memory.
            return _unpack(self.tree, dict(self.arrays), _states(like))
        except (Damaged, MemoryError, ImportError):
            raise
        except Exception as error:  # whatever a tree that was not made by _pack() runs into
            raise Damaged(f"it does not have the form of a result ({error!r})") from error


def store_file(path: str | os.PathLike) -> Path:
    """Return the file in which the result of this `store_path` is kept."""
    path = expanded(path).absolute()
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def write(path: Path, value: Any, key: dict | None = None, like: Any = None) -> None:
    """Keep a value, so that a reader finds the old file or the new one, whole.

    Raises
    ------
    TypeError
        If a part of the value is neither array, table, number, text, list, tuple nor dict of
        these, nor a pytree of which `like` holds one.
    OSError
        If the disk is full, the folder can't be written to, and the like. The file at `path` is
        then as it was.
    """
    from safetensors.numpy import save

    arrays: dict[str, Any] = {}
    header = json.dumps({"tree": _pack(value, arrays, _states(like)), "key": key})
    # One process at a time, under the lock of `path`: what a killed one left is overwritten.
    aside = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        aside.unlink(missing_ok=True)
        with open(aside, "xb") as file:
            file.write(save(arrays, {"dlfb": header, "sha256": _checksum(header, arrays)}))
            file.flush()
            os.fsync(file.fileno())
        read(aside).value(like)  # what could not be read again is refused now
        os.replace(aside, path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def read(path: Path) -> Record:
    """Return what is kept at `path`.

    Raises
    ------
    Damaged
        If the file is not, bit for bit, one that :func:`write` wrote.
    OSError
        If it can't be read, or is not there.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _checksum(about["dlfb"], arrays) != about["sha256"]:
            raise Damaged("its checksum does not agree with its content")
        header = json.loads(about["dlfb"])
        if not isinstance(header["key"], dict | None):
            raise Damaged("its key is none")
        return Record(header["key"], header["tree"], arrays)
    except (OSError, MemoryError, ImportError):
        raise
    except Exception as error:  # whatever a header that write() did not write runs into
        raise Damaged(f"it is not a whole file of results ({error})") from error


def set_aside(path: Path, error: Damaged) -> str:
    """Rename a damaged file to ``*.damaged``; return a sentence that says so, without its stop."""
    where = f"It was set aside as {path.name}.damaged"
    try:
        os.replace(path, f"{path}.damaged")
    except OSError as why:
        where = f"It could not be set aside ({why})"
    return f"The result at {path} can't be used: {error}. {where}"


@contextlib.contextmanager
def locked(path: Path):
    """Let one process or thread at a time through; without a lock where there can be none."""
    from filelock import FileLock, Timeout

    # One lock a process, so that a kept function may call another kept at the same path.
    lock = FileLock(path.with_name(f".{path.name}.lock"), is_singleton=True)
    with contextlib.ExitStack() as stack:
        # A read-only folder, or a file system without locks.
        with contextlib.suppress(OSError, NotImplementedError):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(lock.acquire(timeout=WAIT_QUIETLY))
            except Timeout:
                print(f"Waiting for another process that is computing {path}.", flush=True)
                stack.enter_context(lock.acquire(timeout=-1))
        yield


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

    def put(array) -> str:
        array = np.asarray(array)
        # asarray, as ascontiguousarray makes a number an array of one dimension.
        array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        arrays[str(len(arrays))] = array
        return str(len(arrays) - 1)

    kind, jax, torch = type(value), sys.modules.get("jax"), sys.modules.get("torch")
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple):
        items = [_pack(v, arrays, states, f"{where}[{i}]") for i, v in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict:
        pairs = ((_pack(k, arrays, states, f"a key of {where}"), k, v) for k, v in value.items())
        return {"dict": [[key, _pack(v, arrays, states, f"{where}[{k!r}]")] for key, k, v in pairs]}
    if kind is pd.DataFrame:
        return {"frame": put(table_bytes(value, where))}
    if kind is pd.Series:
        name = _pack(value.name, arrays, [], f"the name of {where}")
        return {"series": [name, put(table_bytes(value.to_frame("values"), where))]}
    if kind is np.ndarray or isinstance(value, np.generic):
        if value.dtype.kind in "biuf":
            return {"numpy" if kind is np.ndarray else "scalar": put(value)}
    elif jax and isinstance(value, jax.Array):
        # A 64-bit array would come back as a 32-bit one where JAX has them switched off.
        if value.dtype == jax.dtypes.canonicalize_dtype(value.dtype):
            return {"jax": put(value)}
    elif torch and kind is torch.Tensor:
        return {"torch": put(value.detach().cpu().numpy())}
    for number, (state, structure) in enumerate(states):
        if type(state) is kind and jax.tree.structure(value) == structure:
            leaves = [_pack(v, arrays, [], where) for v in jax.tree.leaves(value)]
            return {"state": [kind.__name__, number, leaves]}
    raise TypeError(
        f"{where} is a {kind.__name__}{f' of {value.dtype}' if hasattr(value, 'dtype') else ''}, "
        "which can't be kept: return arrays of numbers, tables, numbers, text, lists, tuples and "
        "dicts of these, or a state of the same structure as one that was passed."
    )


def _unpack(node: Any, arrays: dict, states: list) -> Any:
    from dlfb.utils.tables import table_of

    if isinstance(node, list):
        return [_unpack(item, arrays, states) for item in node]
    if not isinstance(node, dict):
        return node
    [(kind, content)] = node.items()
    if kind == "tuple":
        return tuple(_unpack(content, arrays, states))
    if kind == "dict":
        return {_unpack(k, arrays, states): _unpack(v, arrays, states) for k, v in content}
    if kind == "state":
        return _restored(*content[:2], _unpack(content[2], arrays, []), states)
    if kind == "series":
        return table_of(arrays.pop(content[1]))["values"].rename(_unpack(content[0], arrays, []))
    array = arrays.pop(content)
    if kind == "frame":
        return table_of(array)
    if kind == "jax":
        import jax

        return jax.numpy.asarray(array)
    if kind == "torch":
        import torch

        return torch.from_numpy(array)
    return {"numpy": array, "scalar": array[()]}[kind]


def _states(value: Any) -> list[tuple[Any, Any]]:
    """Return the states in `value`, from which a result can borrow its type, with structures."""
    jax = sys.modules.get("jax")
    if isinstance(value, dict | list | tuple) and not hasattr(value, "_fields"):
        inner = value.values() if isinstance(value, dict) else value
        return [found for item in inner for found in _states(item)]
    if jax and not jax.tree_util.all_leaves([value]):
        return [(value, jax.tree.structure(value))]
    return []


def _restored(name: str, number: int, leaves: list, states: list) -> Any:
    """Return a state like the one of this number, or else like another of the same form."""
    import numpy as np

    for state, structure in [*states[number : number + 1], *states]:
        own = structure.flatten_up_to(state)
        if type(state).__name__ == name and [*map(np.shape, own)] == [*map(np.shape, leaves)]:
            return structure.unflatten(leaves)
    raise Damaged(f"it holds a {name}, and none of that form was passed to restore it into")
