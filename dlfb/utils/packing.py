"""Take a result apart into a JSON tree and named arrays, and put it together again.

What comes back is what went in, bit for bit: arrays with their dtype, shape,
memory order and library (NumPy, JAX or torch), frames with their dtypes, index
and column order (:mod:`dlfb.utils.frames`), and any nesting of lists, tuples,
named tuples, dicts and sets of these.

Nothing a tree says is ever imported, looked up or called. The *types* of trained
states (flax's ``TrainState``, any other registered JAX pytree) and of named tuples
are therefore not restored from the tree but borrowed from `like`: values of the
same make that the caller already has, such as the state that was passed to
``train``. Of such an object the tree holds its leaves only.
"""

import collections
import math
import sys
from typing import Any, NamedTuple

# dtypes that NumPy knows only through ml_dtypes, which comes with JAX.
EXTRA_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
_CONTAINERS = {"tuple": tuple, "set": set, "frozenset": frozenset}
_MAPPINGS = {"dict": dict, "OrderedDict": collections.OrderedDict}
_ADVICE = "return arrays, frames, numbers, text, or lists, tuples and dicts of these"


class NotKeepable(TypeError):
    """A value of a kind that can't be stored and restored exactly."""


class Unfit(ValueError):
    """A stored state for which the caller has no object to restore it into."""


class Box(NamedTuple):
    """What packing and unpacking carry along."""

    arrays: dict[str, Any]
    like: Any = None  # Values to borrow types from.
    keep_order: bool = True  # Whether an array's order in memory is to come back too.


def pack(
    value: Any, like: Any = None, where: str = "result", keep_order: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Return `value` as a tree that JSON can hold, and the arrays that the tree names.

    Parameters
    ----------
    value : object
        What is to be kept.
    like : object, optional
        The containers in which :func:`unpack` will look for states to restore into.
        If given, a state with no match there is refused now rather than lost later.
    where : str
        How the names of the arrays begin.

    Raises
    ------
    NotKeepable
        If some part of `value` is of a kind that could not be restored exactly.
    """
    box = Box({}, like, keep_order)
    return _pack(value, where, box), box.arrays


def unpack(tree: Any, arrays: dict[str, Any], like: Any = None) -> Any:
    """Return the value that :func:`pack` took apart; `arrays` holds bytes by name.

    Raises
    ------
    Unfit
        If the tree holds a state and `like` has none of the same type and structure.
    ValueError, TypeError, KeyError and others
        If the tree is not one that :func:`pack` makes.
    """
    return _unpack(tree, Box(arrays, like))


def as_array(value: Any) -> tuple[str, Any] | None:
    """Return (library, NumPy array) for an array or array scalar, else None.

    The library is ``numpy``, ``scalar``, ``jax``, ``key:<kind>`` for a JAX random
    key, or ``torch:<dtype>``, whose array is the tensor's bytes (..., itemsize).
    """
    import numpy as np

    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")
    if type(value) in (np.ndarray, np.memmap):
        found = "numpy", np.asarray(value)
    elif isinstance(value, np.generic):
        found = "scalar", np.asarray(value)
    elif isinstance(value, getattr(jax, "Array", ())):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            return f"key:{jax.random.key_impl(value)}", np.asarray(jax.random.key_data(value))
        found = "jax", np.asarray(value)
    elif torch and type(value) in (torch.Tensor, torch.nn.Parameter):
        flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy().reshape(*value.shape, value.element_size())
        return f"torch:{str(value.dtype).removeprefix('torch.')}", raw
    else:
        return None
    dtype = found[1].dtype
    return found if dtype.kind in "biufcSUMm" or dtype.name in EXTRA_DTYPES else None


def states_in(value: Any):
    """Yield what a result can borrow types from: pytree nodes, named tuples and their classes."""
    if isinstance(value, type):
        if issubclass(value, tuple) and hasattr(value, "_fields"):
            yield value
        return
    if isinstance(value, dict):
        children = list(value.values())
    elif isinstance(value, list | tuple):
        if is_namedtuple(value):
            yield type(value)
        children = list(value)
    elif is_pytree_node(value):
        yield value
        children = _jax_tree().tree_leaves(value, is_leaf=lambda x: x is not value)
    else:
        return
    for child in children:
        yield from states_in(child)


def is_namedtuple(value: Any) -> bool:
    """Say whether `value` is an instance of a named tuple class."""
    return isinstance(value, tuple) and hasattr(type(value), "_fields")


def is_pytree_node(value: Any) -> bool:
    """Say whether `value` is an object, not a plain container, that JAX can take apart."""
    tree = _jax_tree()
    plain = tree is None or isinstance(value, dict | list | tuple)
    return not plain and not tree.all_leaves([value])


def type_name(cls: type) -> str:
    """Return a class's full name, ``"package.module.Class"``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _jax_tree():
    return getattr(sys.modules.get("jax"), "tree_util", None)


def _pack(value: Any, where: str, box: Box) -> Any:
    import numpy as np

    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_pack(item, f"{where}[{i}]", box) for i, item in enumerate(value)]
    if kind.__name__ in _MAPPINGS and kind is _MAPPINGS[kind.__name__]:
        items = [
            [_pack(k, f"{where} key", box), _pack(v, f"{where}[{k!r}]", box)]
            for k, v in value.items()
        ]
        return {"kind": kind.__name__, "items": items}
    if kind.__name__ in _CONTAINERS and kind is _CONTAINERS[kind.__name__]:
        items = [_pack(item, f"{where}[{i}]", box) for i, item in enumerate(value)]
        return {"kind": kind.__name__, "items": items if kind is tuple else sorted(items, key=repr)}
    if kind is bytes:
        return {"kind": "bytes", "hex": value.hex()}
    if kind is complex:
        return {"kind": "complex", "parts": [value.real, value.imag]}
    if is_namedtuple(value):
        fields = zip(value._fields, value, strict=True)
        items = [[name, _pack(item, f"{where}.{name}", box)] for name, item in fields]
        return {"kind": "namedtuple", "type": type_name(kind), "items": items}
    array = as_array(value)
    if array is not None:
        return _pack_array(*array, where, box)
    if kind is np.ndarray and value.dtype == object:
        return _pack_objects(value, where, box)
    if kind.__module__.partition(".")[0] == "pandas":
        from dlfb.utils import frames

        return frames.pack(value, where, box, _pack)
    if is_pytree_node(value):
        return _pack_pytree(value, where, box)
    raise NotKeepable(f"{where} is a {type_name(kind)}, which can't be kept exactly: {_ADVICE}.")


def _pack_array(library: str, array, where: str, box: Box) -> dict:
    import numpy as np

    # Sums depend on the order in memory in their last bits.
    fortran = box.keep_order and array.flags.f_contiguous and not array.flags.c_contiguous
    node = {
        "kind": "array",
        "name": where if where not in box.arrays else f"{where} #{len(box.arrays)}",
        "library": library,
        "dtype": array.dtype.name if array.dtype.name in EXTRA_DTYPES else array.dtype.str,
        "shape": list(array.shape),
        "order": "F" if fortran else "C",
    }
    box.arrays[node["name"]] = np.ascontiguousarray(array.T if fortran else array)
    return node


def _pack_objects(array, where: str, box: Box) -> dict:
    """Pack an array of Python objects; texts, the usual case, as one run of bytes."""
    import numpy as np

    node = {"kind": "objects", "shape": list(array.shape)}
    items = array.ravel().tolist()
    if not all(item is None or type(item) is str for item in items):
        return node | {"items": _pack(items, where, box)}
    encoded = [None if s is None else s.encode("utf-8", "surrogatepass") for s in items]
    lengths = np.array([-1 if s is None else len(s) for s in encoded], dtype=np.int64)
    text = np.frombuffer(b"".join(s for s in encoded if s is not None), dtype=np.uint8)
    return node | {
        "text": _pack(text, f"{where} text", box),
        "lengths": _pack(lengths, f"{where} lengths", box),
    }


def _pack_pytree(value: Any, where: str, box: Box) -> dict:
    tree = _jax_tree()
    leaves = _leaves_by_path(value)
    which = 0
    if box.like is not None:
        matches = [
            tree.tree_structure(c) for c in _matches(type_name(type(value)), leaves, box.like)
        ]
        if tree.tree_structure(value) not in matches:
            raise NotKeepable(
                f"{where} is a {type_name(type(value))}, and no argument is one of the same "
                "structure that it could be restored into: pass the initial state as an argument."
            )
        which = matches.index(tree.tree_structure(value))
    items = [[path, _pack(leaf, where + path, box)] for path, leaf in leaves.items()]
    return {"kind": "pytree", "type": type_name(type(value)), "which": which, "items": items}


def _leaves_by_path(value: Any) -> dict[str, Any]:
    """Return a pytree's leaves by readable path, in JAX's order."""
    from jax.tree_util import keystr, tree_flatten_with_path

    return {keystr(path): leaf for path, leaf in tree_flatten_with_path(value)[0]}


def _matches(name: str, paths, like: Any) -> list:
    """Return the pytrees in `like` that have this type name and these leaves."""
    states = (s for s in states_in(like) if not isinstance(s, type))
    named = (s for s in states if type_name(type(s)) == name)
    return [s for s in named if list(_leaves_by_path(s)) == list(paths)]


def _unpack(node: Any, box: Box) -> Any:
    if isinstance(node, list):
        return [_unpack(item, box) for item in node]
    if not isinstance(node, dict):
        return node
    kind = node["kind"]
    if kind in _MAPPINGS:
        return _MAPPINGS[kind]((_unpack(k, box), _unpack(v, box)) for k, v in node["items"])
    if kind in _CONTAINERS:
        return _CONTAINERS[kind](_unpack(item, box) for item in node["items"])
    if kind in _UNPACK:
        return _UNPACK[kind](node, box)
    from dlfb.utils import frames

    return frames.unpack(node, box, _unpack)


def _unpack_array(node: dict, box: Box) -> Any:
    import numpy as np

    shape, name = tuple(node["shape"]), node["dtype"]
    if name in EXTRA_DTYPES:
        import ml_dtypes

        name = getattr(ml_dtypes, name)
    dtype, raw = np.dtype(name), box.arrays[node["name"]]
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"The array {node['name']!r} does not have the size it should have.")
    # A copy, so that the array is aligned, writable, and owns its memory.
    array = np.ndarray(shape, dtype, raw, order=node["order"]).copy(order=node["order"])
    library, _, detail = node["library"].partition(":")
    if library == "scalar":
        return array[()]
    if library == "numpy":
        return array
    return {"jax": _to_jax, "key": _to_key, "torch": _to_torch}[library](array, detail)


def _to_jax(array, _):
    import jax

    if array.dtype.itemsize < 8:
        return jax.numpy.asarray(array)
    # Else a float64 array would come back as float32. JAX has moved this switch once.
    with (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64(True):
        return jax.numpy.asarray(array)


def _to_key(array, kind: str):
    import jax

    return jax.random.wrap_key_data(array, impl=kind)


def _to_torch(array, dtype: str):
    import torch

    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"torch has no dtype {dtype!r}.")
    flat = torch.from_numpy(array.reshape(-1)).view(getattr(torch, dtype))
    return flat.reshape(array.shape[:-1])


def _unpack_objects(node: dict, box: Box):
    import numpy as np

    if "items" in node:
        items = _unpack(node["items"], box)
    else:
        text = _unpack(node["text"], box).tobytes()
        lengths = _unpack(node["lengths"], box).tolist()
        items, start = [], 0
        for length in lengths:
            stop = start + max(length, 0)
            items.append(None if length < 0 else text[start:stop].decode("utf-8", "surrogatepass"))
            start = stop
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(node["shape"])


def _unpack_namedtuple(node: dict, box: Box) -> tuple:
    fields = tuple(name for name, _ in node["items"])
    values = [_unpack(item, box) for _, item in node["items"]]
    for cls in states_in(box.like):
        if isinstance(cls, type) and type_name(cls) == node["type"] and cls._fields == fields:
            return tuple.__new__(cls, values)
    # A look-alike: equal to the original, with the same fields, but of a class of its own.
    return collections.namedtuple(node["type"].rpartition(".")[2], fields)(*values)


def _unpack_pytree(node: dict, box: Box) -> Any:
    leaves = {path: _unpack(item, box) for path, item in node["items"]}
    matches = _matches(node["type"], leaves, box.like) if _jax_tree() else []
    if len(matches) <= node["which"]:
        raise Unfit(
            f"it holds a {node['type']}, and none of that type and structure was given that it "
            "could be restored into"
        )
    tree = _jax_tree()
    return tree.tree_unflatten(tree.tree_structure(matches[node["which"]]), list(leaves.values()))


_UNPACK = {
    "bytes": lambda node, box: bytes.fromhex(node["hex"]),
    "complex": lambda node, box: complex(*node["parts"]),
    "array": _unpack_array,
    "objects": _unpack_objects,
    "namedtuple": _unpack_namedtuple,
    "pytree": _unpack_pytree,
}
