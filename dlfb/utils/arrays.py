"""Arrays taken apart for :mod:`dlfb.utils.packing`: NumPy, JAX and torch, bit for bit."""

import math
import sys
from typing import Any

# dtypes that NumPy knows only through ml_dtypes, which comes with JAX.
_EXTRA_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
# Earlier releases of JAX answer with these tags, which they do not take back.
_KEY_KINDS = {"fry": "threefry2x32", "urbg": "unsafe_rbg"}


def as_array(value: Any) -> tuple[str, Any] | None:
    """Return (library, NumPy array) for an array or array scalar, else None.

    The library is ``numpy``, ``scalar``, ``jax``, ``key:<kind>`` for a JAX random key, or
    ``torch:<dtype>``, whose array holds the tensor's bytes and is (..., itemsize) uint8.
    """
    import numpy as np

    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")
    if type(value) in (np.ndarray, np.memmap):
        found = "numpy", np.asarray(value)
    elif isinstance(value, np.generic):
        found = "scalar", np.asarray(value)
    elif isinstance(value, getattr(jax, "Array", ())):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            kind = str(jax.random.key_impl(value))
            kind = _KEY_KINDS.get(kind, kind)
            return f"key:{kind}", np.asarray(jax.random.key_data(value))
        found = "jax", np.asarray(value)
    elif torch and type(value) in (torch.Tensor, torch.nn.Parameter):
        flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy().reshape(*value.shape, value.element_size())
        return f"torch:{str(value.dtype).removeprefix('torch.')}", raw
    else:
        return None
    dtype = found[1].dtype
    return found if dtype.kind in "biufcSUMm" or dtype.name in _EXTRA_DTYPES else None


def pack_array(library: str, array, name: str, keep_order: bool) -> tuple[dict, Any]:
    """Return the node that describes an array, and the array as it is to be stored."""
    import numpy as np

    # Sums depend on the order in memory in their last bits.
    fortran = keep_order and array.flags.f_contiguous and not array.flags.c_contiguous
    node = {
        "kind": "array",
        "name": name,
        "library": library,
        "dtype": array.dtype.name if array.dtype.name in _EXTRA_DTYPES else array.dtype.str,
        "shape": list(array.shape),
        "order": "F" if fortran else "C",
    }
    return node, np.ascontiguousarray(array.T if fortran else array)


def unpack_array(node: dict, raw: memoryview) -> Any:
    """Return the array that a node describes, from its bytes."""
    import numpy as np

    shape, name = tuple(node["shape"]), node["dtype"]
    if name in _EXTRA_DTYPES:
        import ml_dtypes

        name = getattr(ml_dtypes, name)
    dtype = np.dtype(name)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"the array {node['name']!r} does not have the size it should have")
    # A copy, so that the array is aligned, writable, and owns its memory.
    array = np.ndarray(shape, dtype, raw, order=node["order"]).copy(order=node["order"])
    library, _, detail = node["library"].partition(":")
    if library == "numpy":
        return array
    if library == "scalar":
        return array[()]
    if library == "torch":
        return _to_torch(array, detail)
    if library in ("jax", "key"):
        return _to_jax(array, detail)
    raise ValueError(f"there is no array library {library!r}")


def _to_jax(array, key: str):
    import jax

    if key:
        return jax.random.wrap_key_data(array, impl=key)
    if array.dtype.itemsize < 8:
        return jax.numpy.asarray(array)
    # Else a float64 array would come back as float32. JAX has moved this switch once.
    with (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64(True):
        return jax.numpy.asarray(array)


def _to_torch(array, name: str):
    import torch

    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch has no dtype {name!r}")
    return torch.from_numpy(array.reshape(-1)).view(dtype).reshape(array.shape[:-1])
