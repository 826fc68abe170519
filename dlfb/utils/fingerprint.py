"""A value's fingerprint: 64 hexadecimal digits that say what it *is*, not where it is.

Equal content gives equal fingerprints in every process, under any ``PYTHONHASHSEED``; no address,
file time or object identity goes in. Each value is hashed as its kind and its parts, with SHA-256.
"""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import sys
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice)  # repr is content
# What a saved configuration says about where it was or what wrote it, not what it is.
_NOT_CONTENT = ("_name_or_path", "name_or_path", "transformers_version")


def fingerprint(value: Any, where: str = "the value") -> str:
    """Return the SHA-256 fingerprint of a value's content.

    Parameters
    ----------
    value : object
        Numbers, text, paths; NumPy, JAX and torch arrays; pandas tables; lists, dicts (in any
        order), sets, dataclasses; functions with what they close over, partials, classes; flax and
        torch modules, optimisers, trained states; tokenizers; and any object with a method
        ``__fingerprint__()`` that returns one of these.
    where : str
        What an error calls `value`.

    Raises
    ------
    TypeError
        If `value`, or a part of it, is of another kind. The error names the part.
    """
    return _fingerprint(value, where, ())


def digest(*parts: Any) -> str:
    """Return the SHA-256 of a list of texts, so that no two lists give the same input."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def _fingerprint(value: Any, where: str, inside: tuple[int, ...]) -> str:
    """Fingerprint `value`; `inside` are the ids of what it is a part of, to end circles."""
    cls = type(value)
    if cls in _PLAIN:
        return digest(cls.__name__, repr(value))
    if id(value) in inside:
        return digest("circle", len(inside) - inside.index(id(value)))

    def part(inner: Any, label: str = "") -> str:
        return _fingerprint(inner, where + label, (*inside, id(value)))

    for kind in (_of_data, _of_container, _of_callable, _of_object):
        if (found := kind(value, part)) is not None:
            return found
    raise TypeError(
        f"{where} is a {_name(cls)}, which can't be fingerprinted, so a result kept for it could "
        "not be told from one for another value. Pass what it is made of (arrays, tables, numbers, "
        f"text), or give {cls.__name__} a method __fingerprint__() that returns that."
    )


def _of_data(value, part) -> str | None:
    """Arrays and tables, by their bytes; and what else says by its repr what it is."""
    import numpy as np

    cls, (jax, torch) = type(value), map(sys.modules.get, ("jax", "torch"))
    if torch and isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous()
        raw = value.reshape(-1).view(torch.uint8).numpy()
        return digest("torch", value.dtype, tuple(value.shape), raw.tobytes())
    if isinstance(value, np.ndarray | np.generic) or (jax and isinstance(value, jax.Array)):
        if jax and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        array = np.asarray(value)
        content = part(array.ravel().tolist()) if array.dtype.hasobject else array.tobytes()
        return digest(_name(cls), array.dtype.str, array.dtype, array.shape, content)
    root = cls.__module__.partition(".")[0]
    if root == "pandas" and hasattr(value, "to_numpy"):
        wide = hasattr(value, "columns")
        columns = [value.iloc[:, i] for i in range(value.shape[1])] if wide else [value]
        content = [(c.dtype, getattr(c.dtype, "categories", None), c.to_numpy()) for c in columns]
        content = [(str(dtype), *rest) for dtype, *rest in content]
        labels = [getattr(value, k, None) for k in ("columns", "index", "name", "names")]
        return digest(_name(cls), part(labels), part(content))
    if isinstance(value, np.random.Generator):
        return digest(_name(cls), part(value.bit_generator.state))
    told = isinstance(value, np.dtype) or (root == "torch" and cls.__name__ in ("dtype", "device"))
    if told or root in ("datetime", "pandas"):  # dates, missing values
        return digest(_name(cls), repr(value))
    return None


def _of_container(value, part) -> str | None:
    """Take lists in their order, dicts and sets in none."""
    cls = type(value)
    if hasattr(cls, "__fingerprint__") and not isinstance(value, type):
        return digest("own", _name(cls), part(value.__fingerprint__()))
    if isinstance(value, list | tuple):
        if all(type(item) in _PLAIN for item in value):  # a hundred thousand sequences at one go
            return digest(_name(cls), repr(list(value)))
        return digest(_name(cls), *(part(item, f"[{i}]") for i, item in enumerate(value)))
    if isinstance(value, set | frozenset):
        return digest(_name(cls), *sorted(map(part, value)))
    if isinstance(value, Mapping):
        items = sorted(part(k) + part(v, f"[{k!r}]") for k, v in value.items())
        return digest(_name(cls), *items)
    if isinstance(value, PurePath):
        return digest("path", value.as_posix())
    return None


def _of_callable(value, part) -> str | None:
    """Functions and classes, by name and code and what they carry along."""
    if isinstance(value, types.FunctionType):
        return _of_function(value, part)
    if isinstance(value, type):
        return digest("class", _of_class(value, part))
    if isinstance(value, functools.partial):
        return digest("partial", part(value.func), part(value.args), part(value.keywords))
    if isinstance(value, types.MethodType):
        return digest("method", part(value.__func__), part(value.__self__, ".__self__"))
    if isinstance(value, types.ModuleType):
        return digest("module", value.__name__)
    if callable(value) and callable(getattr(value, "__wrapped__", None)):
        # A function under jax.jit, jax.custom_jvp, functools.cache and the like.
        return digest("wrapped", _name(type(value)), part(value.__wrapped__))
    if inspect.isroutine(value) or type(value).__name__ == "ufunc":  # of no Python code
        owner = getattr(value, "__self__", None)
        free = owner is None or isinstance(owner, types.ModuleType | type)
        return digest("built in", _name(value), "" if free else part(owner, ".__self__"))
    return None


def _of_object(value, part) -> str | None:
    """Models, tokenizers and other objects of which it is known what they consist of."""
    cls, torch = type(value), sys.modules.get("torch")
    if torch and isinstance(value, torch.nn.Module):
        layers = {}
        for name, layer in value.named_modules():
            own = {k: v for k, v in vars(layer).items() if k[0] != "_" and type(v) in _PLAIN}
            own = {k: v for k, v in own.items() if k not in _NOT_CONTENT}
            layers[name] = (_name(type(layer)), layer.extra_repr(), own)
        config = value.config.to_dict() if hasattr(value, "config") else {}
        config = {k: repr(v) for k, v in config.items() if k not in _NOT_CONTENT}
        weights = part(dict(value.state_dict()))
        return digest("torch module", _of_class(cls, part), part([layers, config]), weights)
    if hasattr(cls, "get_vocab") and hasattr(value, "special_tokens_map"):
        rules = getattr(value, "backend_tokenizer", None)
        rules = json.loads(rules.to_str()) if rules is not None else {}
        rules |= {"padding": None, "truncation": None}  # how the last call padded and cut
        special = str(value.special_tokens_map)
        return digest("tokenizer", _name(cls), part(value.get_vocab()), special, part(rules))
    if dataclasses.is_dataclass(value):
        # A flax module's parent and scope say where it is being run, not what it is.
        names = [f.name for f in dataclasses.fields(value) if f.name not in ("parent", "scope")]
        fields = [part(getattr(value, name), f".{name}") for name in names]
        return digest("dataclass", _of_class(cls, part), *names, *fields)
    return None


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"


def _of_function(function, part) -> str:
    """Fingerprint a function by its code, what it closes over, and its defaults."""
    code, named = function.__code__, f", in {function.__qualname__}(): "
    carried = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell: a name that is never bound
            carried.append((name, part(cell.cell_contents, f"{named}the variable {name}")))
    keywords = (function.__kwdefaults__ or {}).items()
    for name, default in [*enumerate(function.__defaults__ or ()), *keywords]:
        try:
            carried.append((name, part(default, f"{named}a default")))
        except TypeError:  # a mark such as object(), which has no content but its kind
            carried.append((name, _name(type(default))))
    if text := _text(code.co_filename, function.__globals__.get("__name__")):
        return digest("function", _name(function), code.co_firstlineno, text, carried)
    for name in sorted(_names_in(code)):
        helper = function.__globals__.get(name)
        if getattr(helper, "__globals__", None) is not function.__globals__ and callable(helper):
            helper = inspect.unwrap(helper)  # what wraps it is a library's
        beside = getattr(getattr(helper, "func", helper), "__module__", None) == function.__module__
        if beside and isinstance(helper, types.FunctionType | type | functools.partial):
            carried.append((name, part(helper, f"{named}{name}")))
    return digest("function", _name(function), _code(code), carried)


def _of_class(cls: type, part) -> str:
    """Fingerprint a class by the names of its bases, and its file's text or its methods."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    found = [*map(_name, cls.__mro__), text := _text(file, cls.__module__)]
    for base in cls.__mro__ if not text else ():
        for name, member in sorted(vars(base).items() if base.__module__ == cls.__module__ else ()):
            inner = [getattr(member, k, None) for k in ("__func__", "fget", "fset", "func")]
            for thing in [one for one in inner if one is not None] or [member]:
                thing = inspect.unwrap(thing) if callable(thing) else thing
                if isinstance(thing, types.FunctionType):
                    # What dataclasses generate is compiled from "<string>" and says nothing new.
                    if thing.__code__.co_filename != "<string>":
                        found += [name, part(thing)]
                elif not name.startswith("__"):
                    with contextlib.suppress(TypeError):  # of no content, such as a mark
                        found += [name, part(thing)]
    return digest(*found)


def _text(file: str | None, module: str | None) -> str:
    """Return a digest of the text of a module's file, "" where there is none (in a notebook).

    It sees helpers too, and is the same under every version of Python.
    """
    if file and file.endswith(".py") and module != "__main__" and os.path.isfile(file):
        return _digest_of_file(file, os.stat(file).st_mtime_ns)
    return ""


@functools.cache
def _digest_of_file(file: str, _: int) -> str:
    with open(file, "rb") as source:
        return digest(source.read())


def _code(code: types.CodeType) -> str:
    """Return a digest of compiled code, the same wherever and whenever it was typed."""
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, frozenset):  # its order depends on the hash seed
            constant = sorted(map(repr, constant))
        constants.append(_code(constant) if isinstance(constant, types.CodeType) else constant)
    names = (code.co_names, code.co_varnames, code.co_freevars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return digest(code.co_code, names, counts, constants)


def _names_in(code: types.CodeType) -> set[str]:
    inner = (_names_in(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*inner)
