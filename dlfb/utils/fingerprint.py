"""A value's fingerprint: 64 hexadecimal digits, the same for equal content in every process.

A value is taken apart until only numbers and text remain, and these are hashed with SHA-256.
"""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import sys
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

# Kinds of which repr() tells the content.
_PLAIN = {type(None), type(...), bool, int, float, complex, str, range, slice}
# Kinds that consist of these attributes. Compiled code counts, but not its place in a file.
_ATTRIBUTES = {
    classmethod: "__func__",
    enum.Enum: "name value",
    functools.cached_property: "func",
    functools.partial: "func args keywords",
    property: "fget fset fdel",
    types.CodeType: "co_code co_consts co_names co_varnames co_freevars co_argcount "
    "co_posonlyargcount co_kwonlyargcount co_flags",
    types.MethodType: "__func__ __self__",
    types.ModuleType: "__name__",
}
# Where a model was loaded from and what wrote it. Neither changes what it computes.
_NOT_CONTENT = {"name_or_path", "transformers_version"}


class _IfKnown(NamedTuple):
    """A part that counts by its type and code alone if it has no fingerprint (as ``object()``)."""

    value: Any


def fingerprint(value: Any, where: str = "the value", _inside: tuple[int, ...] = ()) -> str:
    """Return the SHA-256 of a value's content.

    It consists of numbers, text, paths, arrays, tables; lists, dicts (in any order), sets,
    dataclasses; functions with the variables they use from outside, classes; modules, optimisers,
    states; tokenizers; objects with a method ``__fingerprint__()`` that returns one of these. A
    part of another kind is a TypeError, which names it; `where` is the value's name in it.
    """
    cls = type(value)
    if cls in _PLAIN:
        return digest(cls.__name__, repr(value))
    if cls is bytes:
        return digest("bytes", value)
    if id(value) in _inside:
        return digest("circle", len(_inside) - _inside.index(id(value)))

    def part(inner: Any, label: str = "") -> str:
        return fingerprint(inner, where + label, (*_inside, id(value)))

    if cls is _IfKnown:
        try:
            return part(value.value)
        except TypeError:
            return part([_name(type(value.value)), getattr(value.value, "__code__", None)])
    if hasattr(cls, "__fingerprint__"):
        return digest("own", _name(cls), part(value.__fingerprint__()))
    if isinstance(value, list | tuple):
        if all(type(item) in _PLAIN for item in value):  # a hundred thousand sequences at once
            return digest(_name(cls), repr(list(value)))
        return digest(_name(cls), *(part(item, f"[{i}]") for i, item in enumerate(value)))
    if isinstance(value, set | frozenset):
        return digest(_name(cls), *sorted(map(part, value)))
    if isinstance(value, Mapping):
        items = (part(key) + part(item, f"[{key!r}]") for key, item in value.items())
        return digest(_name(cls), *sorted(items))
    for parts_of in (_parts_of_data, _parts_of_code, _parts_of_model):
        if parts := parts_of(value):
            return digest(_name(cls), *parts, *(part(inner, key) for key, inner in parts.items()))
    raise TypeError(
        f"{where} is a {_name(cls)}, which can't be fingerprinted. Pass arrays, tables, numbers or "
        f"text, or give {cls.__name__} a method __fingerprint__() that returns what it is made of."
    )


def digest(*parts: Any) -> str:
    """Return the SHA-256 of a list of texts; where one ends and the next begins counts."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


# Each of these returns the parts of a value, under what an error calls them; {} if unknown.


def _parts_of_data(value: Any) -> dict[str, Any]:
    import numpy as np

    jax, pandas, torch = map(sys.modules.get, ("jax", "pandas", "torch"))
    if torch and isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous()
        raw = value.reshape(-1).view(torch.uint8).numpy()
        return {".dtype": str(value.dtype), ".shape": tuple(value.shape), "": raw.tobytes()}
    if isinstance(value, np.ndarray | np.generic) or (jax and isinstance(value, jax.Array)):
        if jax and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        array = np.asarray(value)
        content = array.ravel().tolist() if array.dtype.hasobject else array.tobytes()
        return {".dtype": [array.dtype.str, str(array.dtype)], ".shape": array.shape, "": content}
    if pandas and isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index):
        columns = [c for _, c in value.items()] if hasattr(value, "columns") else [value]
        labels = {f".{k}": getattr(value, k, None) for k in ("columns", "index", "name", "names")}
        return labels | {".array": [column.array for column in columns]}
    if pandas and isinstance(value, pandas.api.extensions.ExtensionArray):
        categories = getattr(value.dtype, "categories", None)
        return {".dtype": str(value.dtype), ".categories": categories, "": value.to_numpy()}
    if isinstance(value, PurePath):
        return {"": value.as_posix()}
    if pandas and pandas.api.types.is_scalar(value):  # a missing value, an interval
        return {"": repr(value)}
    return {}


def _parts_of_code(value: Any) -> dict[str, Any]:
    for kind, names in _ATTRIBUTES.items():
        if isinstance(value, kind):
            return {f".{name}": getattr(value, name) for name in names.split()}
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value)
    if isinstance(value, type):
        return _parts_of_class(value)
    if callable(getattr(value, "__wrapped__", None)):  # under jax.jit, functools.cache and the like
        return {"": value.__wrapped__}
    if inspect.isroutine(value) or type(value).__name__ == "ufunc":  # written in C
        return {"": _name(value), ".__self__": getattr(value, "__self__", None)}
    return {}


def _parts_of_function(function: types.FunctionType) -> dict[str, Any]:
    code, within = function.__code__, f", in {function.__qualname__}(): "
    parts = {"": _name(function)}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell: a name that is never bound
            parts[f"{within}the variable {name}"] = cell.cell_contents
    defaults = dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {})
    parts |= {f"{within}the default {name}": _IfKnown(v) for name, v in defaults.items()}
    if text := _text(function.__module__):
        return parts | {"the file": [text, code.co_firstlineno]}
    for name in sorted(_names_in(code)):  # in a notebook its helpers are elsewhere
        helper = _unwrapped(function.__globals__.get(name), function.__module__)
        written = isinstance(helper, types.FunctionType | type | functools.partial)
        if written and getattr(helper, "func", helper).__module__ == function.__module__:
            parts[f"{within}{name}"] = helper
    return parts | {"the code": code}


def _parts_of_class(cls: type) -> dict[str, Any]:
    parts = {"": [_name(base) for base in cls.__mro__]}
    if text := _text(cls.__module__):
        return parts | {"the file": text}
    for base in cls.__mro__:
        for name, member in vars(base).items() if base.__module__ == cls.__module__ else ():
            if name == "__dataclass_fields__":
                member = [(k, _IfKnown(field.default_factory)) for k, field in member.items()]
            if name not in ("__doc__", "__firstlineno__"):
                label = f", in class {base.__qualname__}: {name}"
                parts[label] = _IfKnown(_unwrapped(member, cls.__module__))
    return parts


def _parts_of_model(value: Any) -> dict[str, Any]:
    cls, torch = type(value), sys.modules.get("torch")
    if torch and isinstance(value, torch.nn.Module):
        found = [{k: v for k, v in vars(m).items() if type(v) in _PLAIN} for m in value.modules()]
        found += [value.config.to_dict()] if hasattr(value, "config") else []
        settings = [{k: repr(d[k]) for k in d.keys() - _NOT_CONTENT if k[0] != "_"} for d in found]
        return {"": [cls, str(value), settings], ".state_dict()": dict(value.state_dict())}
    if hasattr(cls, "get_vocab") and hasattr(value, "special_tokens_map"):
        rules = getattr(value, "backend_tokenizer", None)
        rules = json.loads(rules.to_str()) if rules is not None else {}
        rules |= {"padding": None, "truncation": None}  # those of the last call
        return {"": [value.get_vocab(), str(value.special_tokens_map), rules]}
    if dataclasses.is_dataclass(value):
        # A flax module's parent and scope say where it is being run, not what it is.
        names = [f.name for f in dataclasses.fields(value) if f.name not in ("parent", "scope")]
        return {"": cls} | {f".{name}": getattr(value, name) for name in names}
    return {}


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"


def _unwrapped(thing: Any, module: str) -> Any:
    """Return a function without what a library, and not its own module, wrapped around it."""
    own = getattr(thing, "__globals__", {}).get("__name__") == module
    return thing if own else inspect.unwrap(thing)


def _text(module: str) -> str:
    """Return the text of a module's file, with all helpers in it; "" if none, as in a notebook."""
    with contextlib.suppress(OSError, TypeError):
        return "" if module == "__main__" else inspect.getsource(sys.modules.get(module))
    return ""


def _names_in(code: types.CodeType) -> set[str]:
    inner = (_names_in(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*inner)
