"""Take a result apart into a JSON tree and named arrays, and put it together again.

What comes back is what went in, bit for bit: arrays (:mod:`dlfb.utils.arrays`), tables
(:mod:`dlfb.utils.frames`), and any nesting of lists, tuples, dicts and sets.

Nothing that a tree names is ever imported, looked up or called. The *types* of trained
states (flax's ``TrainState``, optax's named tuples, any JAX pytree) are borrowed from
`like`: values of the same make that the caller has, such as the state that was passed to
``train``. Of such an object the tree holds only the leaves.
"""

import collections
import sys
from typing import Any, NamedTuple

from dlfb.utils.arrays import as_array, pack_array, unpack_array

_CONTAINERS = {"tuple": tuple, "set": set, "frozenset": frozenset}
_MAPPINGS = {"dict": dict, "OrderedDict": collections.OrderedDict}
_ADVICE = "return arrays, tables, numbers, text, or lists, tuples and dicts of these"


class NotKeepable(TypeError):
    """A value of a kind that can't be stored and restored exactly."""


class Unfit(ValueError):
    """A stored state for which the caller has no object to restore it into."""


class Box(NamedTuple):
    """What packing and unpacking carry along."""

    arrays: dict[str, Any]
    like: Any = None  # Where to look for states to borrow the types of.
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
    keep_order : bool
        Whether an array's order in memory is content.

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


def type_name(cls: Any) -> str:
    """Return the full name of a class or function, ``"package.module.Name"``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def is_namedtuple(value: Any) -> bool:
    """Say whether `value` is an instance of a named tuple class."""
    return isinstance(value, tuple) and hasattr(type(value), "_fields")


def is_pytree_node(value: Any) -> bool:
    """Say whether `value` is an object, not a plain container, that JAX can take apart."""
    tree = getattr(sys.modules.get("jax"), "tree_util", None)
    plain = isinstance(value, dict | list | tuple) and not is_namedtuple(value)
    return tree is not None and not plain and not tree.all_leaves([value])


def _pack(value: Any, where: str, box: Box) -> Any:
    import numpy as np

    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_pack(item, f"{where}[{i}]", box) for i, item in enumerate(value)]
    if kind in _MAPPINGS.values():
        keys = [_pack(k, f"{where} key", box) for k in value]
        values = [_pack(v, f"{where}[{k!r}]", box) for k, v in value.items()]
        return {"kind": kind.__name__, "items": list(zip(keys, values, strict=True))}
    if kind in _CONTAINERS.values():
        items = [_pack(item, f"{where}[{i}]", box) for i, item in enumerate(value)]
        return {"kind": kind.__name__, "items": items if kind is tuple else sorted(items, key=repr)}
    array = as_array(value)
    if array is not None:
        name = where if where not in box.arrays else f"{where} #{len(box.arrays)}"
        node, box.arrays[name] = pack_array(*array, name, box.keep_order)
        return node
    if (kind is np.ndarray and value.dtype == object) or kind.__module__.startswith("pandas"):
        from dlfb.utils import frames

        return frames.pack(value, where, lambda v, label: _pack(v, where + label, box))
    if is_pytree_node(value):
        return _pack_pytree(value, where, box)
    raise NotKeepable(f"{where} is a {type_name(kind)}, which can't be kept exactly: {_ADVICE}.")


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
    if kind == "array":
        return unpack_array(node, box.arrays[node["name"]])
    if kind == "pytree":
        return _unpack_pytree(node, box)
    from dlfb.utils import frames

    return frames.unpack(node, lambda name: _unpack(node[name], box))


def _pack_pytree(value: Any, where: str, box: Box) -> dict:
    leaves, structure = _flat(value)
    which = None
    if box.like is not None:
        structures = [s for _, s in _matches(type_name(type(value)), leaves, box.like)]
        if structure not in structures:
            raise NotKeepable(
                f"{where} is a {type_name(type(value))}, and no argument is one of the same "
                "structure that it could be restored into: pass the initial state as an argument."
            )
        which = structures.index(structure)
    items = [[path, _pack(leaf, where + path, box)] for path, leaf in leaves.items()]
    return {"kind": "pytree", "type": type_name(type(value)), "which": which, "items": items}


def _unpack_pytree(node: dict, box: Box) -> Any:
    leaves = {path: _unpack(item, box) for path, item in node["items"]}
    matches = _matches(node["type"], leaves, box.like)
    if node["which"] is None:  # Kept for others: any will do into which every leaf fits.
        matches = [match for match in matches if _shapes(match[0]) == _shapes(leaves)]
    if len(matches) <= (node["which"] or 0):
        raise Unfit(
            f"it holds a {node['type']}, and none of that type and structure was given that it "
            "could be restored into"
        )
    structure = matches[node["which"] or 0][1]
    return structure.unflatten(list(leaves.values()))


def _flat(value: Any) -> tuple[dict[str, Any], Any]:
    """Return a pytree's leaves by readable path, in JAX's order, and its structure."""
    from jax.tree_util import keystr, tree_flatten_with_path

    leaves, structure = tree_flatten_with_path(value)
    return {keystr(path): leaf for path, leaf in leaves}, structure


def _matches(name: str, paths, like: Any) -> list[tuple[dict, Any]]:
    """Return the pytrees in `like` that have this type name and these leaves, flat."""
    states = (state for state in _states_in(like) if type_name(type(state)) == name)
    return [flat for flat in map(_flat, states) if list(flat[0]) == list(paths)]


def _shapes(leaves: dict[str, Any]) -> list[tuple]:
    return [getattr(leaf, "shape", ()) for leaf in leaves.values()]


def _states_in(value: Any):
    """Yield the pytree nodes that a result can borrow its types from."""
    if is_pytree_node(value):
        yield value
        children = sys.modules["jax"].tree_util.tree_leaves(value, lambda x: x is not value)
    elif isinstance(value, dict | list | tuple):
        children = value.values() if isinstance(value, dict) else value
    else:
        return
    for child in children:
        yield from _states_in(child)
