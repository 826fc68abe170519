"""pandas tables, and arrays of objects, taken apart for :mod:`dlfb.utils.packing`.

Values, dtypes, column order, duplicate labels, index and names all come back. Columns of
one NumPy dtype go together as one matrix; texts go together as one run of bytes. A kind
of column that could not be restored exactly is refused by name.
"""

from collections.abc import Callable
from typing import Any

from dlfb.utils.packing import NotKeepable, type_name


def pack(value: Any, where: str, part: Callable[[Any, str], Any]) -> dict:
    """Return the node of a frame, a series, an index, or an array of objects.

    `part` packs what it consists of, given a value and a label for it; `where` names
    `value` in errors.
    """
    import numpy as np
    import pandas as pd

    if type(value) is np.ndarray:
        return _pack_objects(value, part)
    if type(value) is pd.DataFrame:
        return _pack_frame(value, where, part)
    if type(value) is pd.Series:
        index, name = part(value.index, " index"), part(value.name, " name")
        return {
            "kind": "series", "index": index, "name": name,
            "values": _pack_values(value, where, part),
        }  # fmt: skip
    if isinstance(value, pd.Index):
        return _pack_index(value, where, part)
    if value is pd.NA or value is pd.NaT:
        return {"kind": "missing", "name": "NA" if value is pd.NA else "NaT"}
    raise NotKeepable(f"{where} is a {type_name(type(value))}, which can't be kept exactly.")


def unpack(node: dict, part: Callable[[str], Any]) -> Any:
    """Return what :func:`pack` took apart; `part` unpacks a part of the node by its name."""
    import pandas as pd

    match node["kind"]:
        case "objects":
            return _unpack_objects(node, part)
        case "frame":
            return _unpack_frame(node, part)
        case "series":
            values = part("values")
            # The dtype is insisted on, as pandas would infer another from objects.
            return pd.Series(values, part("index"), values.dtype, part("name"), copy=False)
        case "index":
            values = part("values")
            return pd.Index(values, dtype=values.dtype, name=part("name"))
        case "range index":
            return pd.RangeIndex(*part("range"), name=part("name"))
        case "multi index":
            return pd.MultiIndex(part("levels"), part("codes"), names=part("names"))
        case "string":
            # pandas 2.2 knows no na_value, and has a storage of its own for texts with NaN.
            with_na = node["missing"] == "NA" or node["storage"] == "pyarrow_numpy"
            na_value = {} if with_na else {"na_value": float("nan")}
            return pd.array(part("values"), dtype=pd.StringDtype(node["storage"], **na_value))
        case "category":
            return pd.Categorical.from_codes(part("codes"), part("categories"), node["ordered"])
        case "masked":
            values, mask = part("values"), part("mask")
            classes = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
            return classes.get(values.dtype.kind, pd.arrays.IntegerArray)(values, mask)
        case "missing":
            return pd.NA if node["name"] == "NA" else pd.NaT
    raise ValueError(f"there is no kind of value {node['kind']!r}")


def _pack_frame(frame, where: str, part) -> dict:
    import numpy as np

    blocks: dict[Any, list[int]] = {}
    for position, dtype in enumerate(frame.dtypes):
        plain = isinstance(dtype, np.dtype) and dtype.kind != "O"
        blocks.setdefault(dtype.str if plain else position, []).append(position)
    values = []
    for kind, positions in blocks.items():
        if isinstance(kind, str):
            values.append(part(frame.iloc[:, positions].to_numpy(), f" {kind}"))
        else:
            at = f"[{frame.columns[kind]!r}]"
            column = frame.iloc[:, kind]
            values.append(_pack_values(column, where + at, lambda v, w, at=at: part(v, at + w)))
    return {
        "kind": "frame",
        "columns": part(frame.columns, " columns"),
        "index": part(frame.index, " index"),
        "attrs": part(frame.attrs, " attrs"),
        "positions": list(blocks.values()),
        "values": values,
    }


def _unpack_frame(node: dict, part):
    import pandas as pd

    index, columns, attrs = part("index"), part("columns"), part("attrs")
    parts = []
    for positions, values in zip(node["positions"], part("values"), strict=True):
        if values.ndim == 2:
            parts.append(pd.DataFrame(values, columns=positions, copy=False))
        else:
            parts.append(pd.Series(values, dtype=values.dtype, name=positions[0]).to_frame())
    if parts:
        frame = pd.concat(parts, axis=1) if len(parts) > 1 else parts[0]
        if list(frame.columns) != list(range(len(columns))):
            frame = frame[list(range(len(columns)))]
        frame.index, frame.columns = index, columns
    else:
        frame = pd.DataFrame(index=index, columns=columns)
    frame.attrs = attrs
    return frame


def _pack_index(index, where: str, part) -> dict:
    import numpy as np
    import pandas as pd

    if type(index) is pd.RangeIndex:
        limits = [index.start, index.stop, index.step]
        return {"kind": "range index", "range": limits, "name": part(index.name, " name")}
    if type(index) is pd.MultiIndex:
        return {
            "kind": "multi index",
            "levels": part(list(index.levels), " levels"),
            "codes": part([np.array(codes) for codes in index.codes], " codes"),
            "names": part(list(index.names), " names"),
        }
    if getattr(index, "freq", None) is not None:
        raise NotKeepable(f"{where} has a frequency, which can't be kept: set its freq to None.")
    values, name = _pack_values(index, where, part), part(index.name, " name")
    return {"kind": "index", "values": values, "name": name}


def _pack_values(values, where: str, part) -> Any:
    """Pack the values of a Series or of an Index according to their dtype."""
    import numpy as np
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        return part(values.to_numpy(), "")
    if isinstance(dtype, pd.StringDtype):
        return {
            "kind": "string",
            "storage": dtype.storage,
            "missing": "NA" if dtype.na_value is pd.NA else "nan",
            "values": part(values.to_numpy(dtype=object, na_value=None), ""),
        }
    if isinstance(dtype, pd.CategoricalDtype):
        return {
            "kind": "category",
            "codes": part(np.array(values.array.codes), " codes"),
            "categories": part(dtype.categories, " categories"),
            "ordered": dtype.ordered,
        }
    if dtype.name.rstrip("0123456789") in ("Int", "UInt", "Float", "boolean"):
        plain = values.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        mask = np.asarray(values.isna())
        return {"kind": "masked", "values": part(plain, ""), "mask": part(mask, " mask")}
    raise NotKeepable(
        f"{where} has the dtype {dtype}, which can't be kept exactly: turn it into numbers, "
        "text or categories."
    )


def _pack_objects(array, part) -> dict:
    import numpy as np

    node = {"kind": "objects", "shape": list(array.shape)}
    items = array.ravel().tolist()
    if not all(item is None or type(item) is str for item in items):
        return node | {"items": part(items, "")}
    encoded = [None if s is None else s.encode("utf-8", "surrogatepass") for s in items]
    lengths = np.array([-1 if s is None else len(s) for s in encoded], dtype=np.int64)
    text = np.frombuffer(b"".join(s for s in encoded if s is not None), dtype=np.uint8)
    return node | {"text": part(text, " text"), "lengths": part(lengths, " lengths")}


def _unpack_objects(node: dict, part):
    import numpy as np

    if "items" in node:
        items = part("items")
    else:
        text, items, start = part("text").tobytes(), [], 0
        for length in part("lengths").tolist():
            stop = start + max(length, 0)
            items.append(None if length < 0 else text[start:stop].decode("utf-8", "surrogatepass"))
            start = stop
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):  # Not at one go: NumPy would take tuples for rows.
        array[i] = item
    return array.reshape(node["shape"])
