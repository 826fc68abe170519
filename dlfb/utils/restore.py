"""Keep the results of slow functions, and give them back when the same is asked again.

>>> state, metrics = restorable(train)(state, splits, store_path=assets("proteins/models/mlp"))

The first call trains; later ones, in any process, restore what it returned, bit for
bit, in milliseconds. *The same* means the same function and version, and equal
content of every argument, defaults included. If anything else is asked, the result
is computed anew, and one line says what differed. The first computing and a plain
restoring print nothing, so that a page's outputs do not depend on the cache.

What a function reads besides its arguments (files, globals, the code of other
modules) is not seen. Pass it as an argument, or raise the function's `version`.
"""

import functools
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dlfb.utils import packing, store
from dlfb.utils.fingerprint import fingerprint, function_fingerprint

__all__ = ["fingerprint", "load", "restorable", "save"]


class _Look(NamedTuple):
    """What was found at a path: perhaps the result, and what there is to say about it."""

    found: bool = False
    value: Any = None
    say: str | None = None
    damaged: str | None = None
    newer: str | None = None


def restorable(function: Callable | None = None, *, version: Any = None) -> Callable:
    """Give a function the keyword arguments ``store_path`` and ``force``.

    Used as ``restorable(train)(..., store_path=path)`` or as a decorator. With a
    ``store_path``, the result is kept in that file (``.dlfb`` is appended) and
    restored when the same is asked again; ``force=True`` computes it anew. Without
    one, the function is just called. Its name, documentation and signature stay.

    Results may hold arrays (NumPy, JAX, torch), pandas tables, numbers, text, and
    lists, tuples, dicts and sets of these. A trained state, such as
    flax's ``TrainState`` or an optimiser's state, is restored into the state of the
    same structure that was passed as an argument.

    Parameters
    ----------
    function : callable
        What is slow. It should return the same for the same arguments.
    version : str or int, optional
        What counts as the version of `function`. By default its code, with that of
        the functions of its module that it calls, so that editing them computes anew.

    Raises
    ------
    TypeError
        If `function` has such a keyword of its own; and, when called with a
        ``store_path``, if an argument can't be fingerprinted. The error names it.

    Notes
    -----
    Two processes that ask at once compute once: the other waits. A damaged file is
    set aside as ``*.damaged``, and a file without a key (:func:`save`) is taken as it
    is; both are said in a line. A file in the format of a later dlfb is left alone:
    the result is computed, and not kept. What can't be kept is returned with a warning.
    """
    if function is None:
        return functools.partial(restorable, version=version)
    signature = inspect.signature(function)
    name = getattr(inspect.unwrap(function), "__qualname__", repr(function))

    @functools.wraps(function)
    def wrapper(*args, store_path=None, force=False, **kwargs):
        if store_path is None:
            return function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        key = _key(function, name, version, bound.arguments)
        like = dict(bound.arguments)  # Where a result may borrow the types of its states from.
        path = store.store_file(store_path)
        look = _Look() if force else _look(path, key, like, name)
        if not look.found:
            with store.locked(path):
                if not force:  # Another process may have computed it while this one waited.
                    look = _look(path, key, like, name)
                if not look.found:
                    _say_why(look, path, name)
                    value = function(*args, **kwargs)
                    if not look.newer:
                        _keep(value, path, key, like, name)
                    return value
        if look.say:
            print(look.say)
        return look.value

    wrapper.__signature__ = _with_keywords(signature, name)
    return wrapper


def save(value: Any, path: str | Path) -> Path:
    """Keep a value at `path`, without a key: for results that are handed to others.

    :func:`restorable` takes such a file as it is and says that it was not checked. The
    file's path is returned. What can't be kept exactly is a ``TypeError``.
    """
    file = store.store_file(path)
    tree, arrays = packing.pack(value)
    with store.locked(file):
        store.write(file, tree, arrays, key=None)
    return file


def load(path: str | Path, like: Any = None) -> Any:
    """Return what is kept at `path`, whatever was asked to make it.

    Parameters
    ----------
    path : str or Path
        Where :func:`save` or a restorable function kept it.
    like : object, optional
        A state to restore a state into, of the same structure, or a container with one.

    Raises
    ------
    FileNotFoundError
        If nothing is kept there.
    ValueError
        If the file is damaged, of a later format, or needs a state in `like`.
    """
    file = store.store_file(path)
    try:
        record = store.read(file)
        return _unpacked(record, like)
    except (store.Damaged, store.Newer, packing.Unfit) as error:
        raise ValueError(f"The result kept at {file} can't be loaded: {error}.") from error


def _key(function: Callable, name: str, version: Any, arguments: dict[str, Any]) -> dict:
    if version is None:
        asked = {"code": function_fingerprint(function, f"The function {name}()")}
    else:
        asked = {"version": fingerprint(version, f"The version of {name}()")}
    values = {
        argument: fingerprint(value, f"{name}(): the argument {argument!r}")
        for argument, value in arguments.items()
    }
    return {"function": f"{function.__module__}.{name}", **asked, "arguments": values}


def _look(path: Path, key: dict, like: Any, name: str) -> _Look:
    """Look for the result at `path`, and change nothing."""
    try:
        record = store.read(path)
        if record.key is not None and record.key != key:
            return _Look(say=f"{name}() is computed anew: {_difference(record.key, key, path)}")
        value = _unpacked(record, like)
    except FileNotFoundError:
        return _Look()
    except store.Newer as error:
        return _Look(newer=str(error))
    except (store.Damaged, packing.Unfit) as error:
        return _Look(damaged=str(error))
    except OSError as error:
        return _Look(say=f"{name}() is computed anew: {path} could not be read ({error}).")
    unchecked = (
        f"{name}() was not run: its result was taken from {path}, which has no fingerprint, so it "
        "was not checked that it belongs to these arguments."
    )
    return _Look(found=True, value=value, say=unchecked if record.key is None else None)


def _unpacked(record: store.Record, like: Any) -> Any:
    try:
        return packing.unpack(record.tree, record.arrays, like)
    except (packing.Unfit, ImportError, MemoryError):
        raise
    except Exception as error:  # Whatever a tree that was not made by pack() runs into.
        raise store.Damaged(f"it does not have the form of a result ({error})") from error


def _difference(old: dict, new: dict, path: Path) -> str:
    """Say what was asked otherwise when the result at `path` was made."""
    # Without the folder, so that a page that shows this line says the same on every machine.
    if old.get("function") != new["function"]:
        return f"the result kept in {path.name} is one of {old.get('function')}()."
    before, now = old.get("arguments", {}), new["arguments"]
    names = [repr(n) for n in {**now, **before} if before.get(n) != now.get(n)]
    parts = [f"the argument{'s' * (len(names) > 1)} {', '.join(names)}"] if names else []
    if any(old.get(what) != new.get(what) for what in ("code", "version")):
        parts.append("the function's " + ("version" if "version" in new else "code"))
    return f"{' and '.join(parts)} changed since the result in {path.name} was kept."


def _say_why(look: _Look, path: Path, name: str) -> None:
    """Say why the function is about to run, where there is something to say."""
    if look.say:
        print(look.say)
    if look.newer:
        warnings.warn(
            f"The result at {path} was kept by a later dlfb ({look.newer}). It is left as it is; "
            f"{name}() is computed anew and not kept. Update dlfb, use another store_path, or "
            "replace it with force=True.",
            stacklevel=3,
        )
    if look.damaged:
        try:
            where = f"It was set aside as {store.set_aside(path).name}"
        except OSError as error:
            where = f"It could not be set aside ({error})"
        print(f"The result at {path} can't be used: {look.damaged}. {where}, and {name}() is run.")


def _keep(value: Any, path: Path, key: dict, like: Any, name: str) -> None:
    """Store a result; whatever goes wrong, what was computed must not be lost."""
    try:
        tree, arrays = packing.pack(value, like, where="result")
        store.write(path, tree, arrays, key)
    except Exception as error:
        warnings.warn(
            f"The result of {name}() is returned but could not be kept at {path}: {error}",
            stacklevel=3,
        )


def _with_keywords(signature: inspect.Signature, name: str) -> inspect.Signature:
    """Return `signature` with ``store_path`` and ``force`` added."""
    taken = {"store_path", "force"} & set(signature.parameters)
    if taken:
        raise TypeError(
            f"restorable({name}): the function has a parameter {taken.pop()!r} of its own, which "
            "restorable would add. Give it another name."
        )
    only, last = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD
    added = [
        inspect.Parameter("store_path", only, default=None),
        inspect.Parameter("force", only, default=False),
    ]
    # The sort keeps the order within a kind, and puts **kwargs last.
    parameters = sorted([*signature.parameters.values(), *added], key=lambda p: p.kind == last)
    return signature.replace(parameters=parameters)
