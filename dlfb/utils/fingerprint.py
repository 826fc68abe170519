"""A value's fingerprint: 64 hexadecimal digits that say what it *is*, not where it lies.

Equal content gives equal fingerprints in every process, under any
``PYTHONHASHSEED``; no address, file time or object identity goes in. Each value is
hashed as its kind and its parts, with SHA-256, so that ``1``, ``1.0``, ``True`` and
``"1"`` differ, and so do ``[1, [2]]`` and ``[[1], 2]``.

A function counts as its code (:mod:`dlfb.utils.code`), what it closes over and its
defaults: ``optax.adam(1e-3)`` and ``optax.adam(2e-3)`` differ.
"""

import dataclasses
import enum
import functools
import hashlib
import json
import sys
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from dlfb.utils import packing
from dlfb.utils.arrays import as_array
from dlfb.utils.code import class_digest, code_digest, digest

# Their repr is their content.
_LITERALS = (bytes, bytearray, complex, range, slice, type(None), bool, int, float, str)
_LITERAL_MODULES = ("datetime", "decimal", "fractions", "uuid")
_BUILTIN = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType,
    types.MethodWrapperType, types.ClassMethodDescriptorType,
)  # fmt: skip
# What a saved configuration says about where it lay or what wrote it, not what it is.
_NOT_CONTENT = ("_name_or_path", "name_or_path", "transformers_version")


def fingerprint(value: Any, where: str = "the value") -> str:
    """Return the SHA-256 fingerprint of a value's content.

    Parameters
    ----------
    value : object
        Numbers, text, paths; NumPy, JAX and torch arrays; pandas tables; lists, dicts
        (in any order), sets, dataclasses, JAX pytrees; functions, partials, classes;
        flax and torch modules; tokenizers; and any object with a method
        ``__fingerprint__()`` that returns one of these.
    where : str
        What an error calls `value`.

    Raises
    ------
    TypeError
        If `value`, or a part of it, is of another kind. The error names the part.
    """
    return _fingerprint(value, where, ())


def function_fingerprint(function: Any, where: str) -> str:
    """Return the fingerprint of a function without its defaults, which its arguments carry."""
    if isinstance(function, types.FunctionType):
        return _of_function(function, where, (id(function),), with_defaults=False)
    return fingerprint(function, where)


def _fingerprint(value: Any, where: str, active: tuple[int, ...]) -> str:
    """Fingerprint `value`; `active` are the ids of what it lies in, to end circles."""
    if isinstance(value, _LITERALS) and type(value) in _LITERALS:
        return digest(type(value).__name__, repr(value))
    if id(value) in active:
        return digest("circle", str(len(active) - active.index(id(value))))
    active = (*active, id(value))

    def part(inner: Any, label: str = "") -> str:
        return _fingerprint(inner, where + label, active)

    for kind in (_of_data, _of_container, _of_callable, _of_object):
        found = kind(value, part, where, active)
        if found is not None:
            return found
    name = packing.type_name(type(value))
    raise TypeError(
        f"{where} is a {name}, which can't be fingerprinted, so a result kept for it could not be "
        "told from one for another value. Pass what it is made of (arrays, tables, numbers, "
        f"text), or give {type(value).__name__} a method __fingerprint__() that returns that."
    )


def _of_data(value, part, where, active) -> str | None:
    """Arrays and tables, by their bytes."""
    array = as_array(value)
    if array is not None:
        return _of_array(*array)
    module = type(value).__module__.partition(".")[0]
    if module == "pandas" or (module == "numpy" and type(value).__name__ == "ndarray"):
        try:
            tree, arrays = packing.pack(value, where="table", keep_order=False)
        except packing.NotKeepable as error:
            raise TypeError(f"{where} can't be fingerprinted: {error}") from None
        digests = (_of_array("", array) for array in arrays.values())
        return digest("table", json.dumps(tree), *digests)
    if module == "numpy" and type(value).__name__ == "Generator":
        return digest("generator", part(value.bit_generator.state))
    if module == "torch" and type(value).__name__ in ("dtype", "device"):
        return digest("torch", str(value))
    if module == "numpy" and hasattr(value, "newbyteorder"):
        return digest("dtype", str(value))
    if type(value).__module__ in _LITERAL_MODULES:
        return digest(type(value).__name__, repr(value))
    return None


def _of_array(library: str, array) -> str:
    import numpy as np

    contiguous = np.ascontiguousarray(array)
    raw = contiguous.tobytes() if not array.size else contiguous.reshape(-1).view(np.uint8)
    content = hashlib.sha256(raw).hexdigest()
    return digest("array", library, str(array.dtype), str(array.shape), content)


def _of_container(value, part, where, active) -> str | None:
    """Take lists in their order, dicts and sets in none."""
    cls = type(value)
    if hasattr(cls, "__fingerprint__") and not isinstance(value, type):
        return digest("own", packing.type_name(cls), part(value.__fingerprint__()))
    if packing.is_namedtuple(value):
        items = (part(getattr(value, name), f".{name}") for name in value._fields)
        return digest("namedtuple", packing.type_name(cls), *value._fields, *items)
    if isinstance(value, list | tuple):
        if all(type(item) in _LITERALS for item in value):
            value = [repr(list(value))]  # A hundred thousand sequences, say, at one go.
        kind = cls.__name__ if cls in (list, tuple) else packing.type_name(cls)
        return digest(kind, *(part(item, f"[{i}]") for i, item in enumerate(value)))
    if isinstance(value, set | frozenset):
        return digest("set", cls.__name__, *sorted(part(item) for item in value))
    if isinstance(value, Mapping):
        items = (digest("item", part(k), part(v, f"[{k!r}]")) for k, v in value.items())
        return digest("mapping", packing.type_name(cls), *sorted(items))
    if isinstance(value, PurePath):
        return digest("path", value.as_posix())
    if isinstance(value, enum.Enum):
        return digest("enum", packing.type_name(cls), value.name)
    return None


def _of_callable(value, part, where, active) -> str | None:
    """Functions and classes, by name and code and what they carry along."""
    if isinstance(value, types.FunctionType):
        return _of_function(value, where, active)
    if isinstance(value, type):
        return digest("class", class_digest(value))
    if isinstance(value, functools.partial):
        return digest("partial", part(value.func), part(value.args), part(value.keywords))
    if isinstance(value, types.MethodType):
        return digest("method", part(value.__func__), part(value.__self__, ".__self__"))
    if isinstance(value, types.ModuleType):
        return digest("module", value.__name__)
    if isinstance(value, _BUILTIN):
        owner = getattr(value, "__self__", None)
        free = owner is None or isinstance(owner, types.ModuleType | type)
        name = f"{getattr(value, '__module__', '')}.{value.__qualname__}"
        return digest("builtin", name, "" if free else part(owner, ".__self__"))
    if type(value).__name__ == "ufunc":
        return digest("ufunc", value.__name__)
    if callable(value) and callable(getattr(value, "__wrapped__", None)):
        # A function under jax.jit, jax.custom_jvp, functools.cache and the like.
        return digest("wrapped", packing.type_name(type(value)), part(value.__wrapped__))
    return None


def _of_object(value, part, where, active) -> str | None:
    """Models, tokenizers and other objects of which it is known what they consist of."""
    cls = type(value)
    torch = sys.modules.get("torch")
    if isinstance(value, getattr(getattr(torch, "nn", None), "Module", ())):
        return _of_torch_module(value, part)
    if hasattr(cls, "get_vocab") and hasattr(value, "special_tokens_map"):
        return _of_tokenizer(value, part)
    if dataclasses.is_dataclass(value):
        # A flax module's parent and scope say where it is being run, not what it is.
        fields = [f.name for f in dataclasses.fields(value) if f.name not in ("parent", "scope")]
        digests = [part(getattr(value, name), f".{name}") for name in fields]
        return digest("dataclass", class_digest(cls), *fields, *digests)
    if packing.is_pytree_node(value):
        tree = sys.modules["jax"].tree_util
        children, structure = tree.tree_flatten(value, is_leaf=lambda x: x is not value)
        aux = structure.node_data()[1]
        return digest("pytree", class_digest(cls), part(aux), part(children))
    return None


def _of_torch_module(model, part) -> str:
    """Weights and buffers, settings, and the code of every class of layer."""
    plain = (bool, int, float, str, type(None))
    settings, classes = [], {}
    for name, layer in model.named_modules():
        own = {k: v for k, v in vars(layer).items() if k[0] != "_" and type(v) in plain}
        own = {k: v for k, v in own.items() if k not in _NOT_CONTENT}
        settings.append((name, packing.type_name(type(layer)), repr(own), layer.extra_repr()))
        classes[type(layer)] = None
    weights = dict(model.named_parameters(remove_duplicate=False))
    weights |= dict(model.named_buffers(remove_duplicate=False))
    config = getattr(model, "config", None)
    if hasattr(config, "to_dict"):
        config = {k: v for k, v in config.to_dict().items() if k not in _NOT_CONTENT}
    weights = {name: _of_array(*as_array(w.detach())) for name, w in weights.items()}
    return digest(
        "torch module", part(weights), part(settings), part(config, ".config"),
        *map(class_digest, classes),
    )  # fmt: skip


def _of_tokenizer(tokenizer, part) -> str:
    """Vocabulary, special tokens and rules; not how the last call padded or cut."""
    rules = getattr(tokenizer, "backend_tokenizer", None)
    if rules is not None:
        rules = json.loads(rules.to_str())
        rules = {k: v for k, v in rules.items() if k not in ("padding", "truncation")}
    names = ("model_max_length", "padding_side", "truncation_side")
    settings = {name: getattr(tokenizer, name, None) for name in names}
    special = {k: repr(v) for k, v in tokenizer.special_tokens_map.items()}
    return digest(
        "tokenizer", packing.type_name(type(tokenizer)), part(tokenizer.get_vocab()),
        part(special), part(settings), part(rules),
    )  # fmt: skip


def _of_function(function, where, active, with_defaults: bool = True) -> str:
    """Fingerprint a function with all it carries; every part must be known."""

    def part(inner: Any, label: str) -> str:
        return _fingerprint(inner, f"{where}, in {function.__qualname__}(): {label}", active)

    carried = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            carried.append(part(cell.cell_contents, f"the variable {name}"))
        except ValueError:  # An empty cell: a name that is never bound.
            carried.append("empty")
    if with_defaults:
        named = list((function.__kwdefaults__ or {}).items())
        for name, default in [*enumerate(function.__defaults__ or ()), *named]:
            try:
                carried.append(f"{name}={part(default, 'a default')}")
            except TypeError:  # A mark such as object(), which has no content but its kind.
                carried.append(f"{name}={packing.type_name(type(default))}")
    return digest("function", packing.type_name(function), code_digest(function), *carried)
