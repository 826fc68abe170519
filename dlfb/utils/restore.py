"""Keep the results of slow functions, and give them back when the same is asked again.

Nothing is printed, so that a page's outputs do not depend on what is kept, but for one line where a
result is there and is not taken.
"""

import functools
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlfb.utils import store
from dlfb.utils.fingerprint import fingerprint


def restorable(function: Callable, *, version: Any = None) -> Callable:
    """Give a function the keyword arguments ``store_path`` and ``force``.

    Used as ``restorable(train)(..., store_path=path)`` or as a decorator. The result is kept in
    that file (``.dlfb`` is appended) and restored when the same function is called with equal
    arguments; ``force=True`` computes it anew. It may hold arrays of numbers, tables, numbers,
    text, and lists, tuples and dicts of these. A trained state, such as flax's ``TrainState``,
    takes its functions from one that was passed. An argument without a fingerprint is a TypeError.

    A function counts by the text of its file: any edit there, of a helper or even of a comment,
    computes anew. One of a notebook counts by its code and that of the notebook's functions and
    classes that it uses. What else it reads (files, global values, other modules) is not seen:
    pass it as an argument, or give a `version`, which then counts in place of the source.
    """
    signature = inspect.signature(function)
    written = inspect.unwrap(getattr(function, "func", function))  # of a partial
    name = getattr(written, "__qualname__", type(function).__name__)

    @functools.wraps(function)
    def wrapper(*args, store_path=None, force=False, **kwargs):
        if store_path is None:
            return function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        what, own = ("version", version) if version is not None else ("code", function)
        key = {"function": f"{name}()"}
        key[f"the function's {what}"] = fingerprint(own, f"{name}(): the function's {what}")
        for argument, value in bound.arguments.items():
            about = f"the argument {argument!r}"
            key[about] = fingerprint(value, f"{name}(): {about}")
        like = dict(bound.arguments)  # a copy: the function may change its arguments
        return kept(store_path, key, lambda: function(*args, **kwargs), like, force)

    return wrapper


def kept(
    path, key: dict[str, str], compute: Callable[[], Any], like=None, force=False, must=False
) -> Any:
    """Return what is kept at `path` under `key`, or else compute and keep it.

    Two processes that ask at once compute once: the other waits. A damaged file is renamed to
    ``*.damaged``. What can't be kept, as on a full disk, is returned with a warning; with `must`,
    it is an OSError.

    `key` has the name of what computes the result under ``"function"``, and a fingerprint for each
    named part of what is asked. `like` is or holds a state of the type of a state in the result.
    """
    path, name = store.store_file(path), key["function"]
    with store.locked(path):
        found, value = (False, None) if force else _look(path, key, like, name)
        if not found:
            value = compute()
            try:
                store.write(path, value, key, like)
            except Exception as error:  # whatever it is, what was computed must not be lost
                fault = f"{name}: the result could not be kept at {path}: {error}"
                if must:
                    raise OSError(fault) from error
                warnings.warn(f"{fault}. It is returned all the same.", stacklevel=3)
    return value


def _look(path: Path, key: dict, like: Any, name: str) -> tuple[bool, Any]:
    """Return whether the result is at `path`, and the result; say what there is to say."""
    try:
        record = store.read(path)
        # Before anything is unpacked: a result of another function is whole, and not damaged.
        if record.key != key:
            print(f"{name} is computed anew: {_difference(record.key or {}, key, path)}")
            return False, None
        value = record.value(like)
    except FileNotFoundError:
        return False, None
    except store.Damaged as error:
        print(f"{store.set_aside(path, error)}, and {name} is run.")
        return False, None
    except OSError as error:
        print(f"{name} is computed anew: {path} could not be read ({error}).")
        return False, None
    return True, value


def _difference(old: dict, new: dict, path: Path) -> str:
    """Say what was asked otherwise when the result at `path` was made."""
    # Without the folder, so that a page that shows this line says the same on every machine.
    if old.get("function") != new["function"]:
        return f"the result kept in {path.name} is one of {old.get('function')}."
    parts = [part for part in {**new, **old} if new.get(part) != old.get(part)]
    return f"{', '.join(parts)} changed since the result in {path.name} was kept."
