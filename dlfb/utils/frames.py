"""pandas tables taken apart for :mod:`dlfb.utils.packing`, exactly.

Columns of one NumPy dtype go together as one matrix. Values, dtypes, column order,
duplicate labels, index and names all come back; a kind of column that could not be
restored exactly is refused by name rather than changed a little.
"""

from typing import Any

from dlfb.utils.packing import NotKeepable, type_name


def pack(value: Any, where: str, box, pack_part) -> dict:
    """Pack a ``DataFrame``, a ``Series`` or an ``Index``; `pack_part` packs what it is made of."""
    import pandas as pd

    if type(value) is pd.DataFrame:
        return _pack_frame(value, where, box, pack_part)
    if type(value) is pd.Series:
        return {
            "kind": "series",
            "index": _pack_index(value.index, f"{where} index", box, pack_part),
            "name": pack_part(value.name, f"{where} name", box),
            "values": _pack_values(value, where, box, pack_part),
        }
    if isinstance(value, pd.Index):
        return _pack_index(value, where, box, pack_part)
    if value is pd.NA or value is pd.NaT:
        return {"kind": "missing", "name": "NA" if value is pd.NA else "NaT"}
    raise NotKeepable(f"{where} is a {type_name(type(value))}, which can't be kept exactly.")


def unpack(node: dict, box, unpack_part) -> Any:
    """Return what :func:`pack` took apart."""
    import pandas as pd

    def part(name: str) -> Any:
        return unpack_part(node[name], box)

    match node["kind"]:
        case "frame":
            return _unpack_frame(node, part)
        case "series":
            values = part("values")
            return pd.Series(values, part("index"), _dtype(values), part("name"), copy=False)
        case "index":
            values = part("values")
            return pd.Index(values, dtype=_dtype(values), name=part("name"))
        case "range index":
            return pd.RangeIndex(*part("range"), name=part("name"))
        case "multi index":
            return pd.MultiIndex(part("levels"), part("codes"), names=part("names"))
        case "string":
            missing = pd.NA if node["missing"] == "NA" else float("nan")
            dtype = pd.StringDtype(node["storage"], na_value=missing)
            return pd.array(part("values"), dtype=dtype)
        case "category":
            return pd.Categorical.from_codes(part("codes"), part("categories"), node["ordered"])
        case "masked":
            values, mask = part("values"), part("mask")
            by_kind = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
            return by_kind.get(values.dtype.kind, pd.arrays.IntegerArray)(values, mask)
        case "missing":
            return pd.NA if node["name"] == "NA" else pd.NaT
    raise ValueError(f"There is no kind of value {node['kind']!r}.")


def _pack_frame(frame, where: str, box, pack_part) -> dict:
    blocks: dict[str, list[int]] = {}
    for position, dtype in enumerate(frame.dtypes):
        plain = getattr(dtype, "kind", "O") != "O" and hasattr(dtype, "newbyteorder")
        blocks.setdefault(dtype.str if plain else f"column {position}", []).append(position)
    values = []
    for name, positions in blocks.items():
        if name.startswith("column "):
            column = frame.iloc[:, positions[0]]
            label = f"{where}[{frame.columns[positions[0]]!r}]"
            values.append(_pack_values(column, label, box, pack_part))
        else:
            values.append(pack_part(frame.iloc[:, positions].to_numpy(), f"{where} {name}", box))
    return {
        "kind": "frame",
        "columns": _pack_index(frame.columns, f"{where} columns", box, pack_part),
        "index": _pack_index(frame.index, f"{where} index", box, pack_part),
        "attrs": pack_part(frame.attrs, f"{where} attrs", box),
        "positions": list(blocks.values()),
        "values": values,
    }


def _unpack_frame(node: dict, part):
    import pandas as pd

    parts = []
    for positions, values in zip(node["positions"], part("values"), strict=True):
        if getattr(values, "ndim", 1) == 2:
            parts.append(pd.DataFrame(values, columns=positions, copy=False))
        else:
            parts.append(pd.Series(values, dtype=_dtype(values), name=positions[0]).to_frame())
    index, columns = part("index"), part("columns")
    frame = pd.concat(parts, axis=1) if len(parts) > 1 else parts[0] if parts else pd.DataFrame()
    order = list(range(len(columns)))
    if list(frame.columns) != order:
        frame = frame[order]
    if parts:
        frame.index, frame.columns = index, columns
    else:
        frame = pd.DataFrame(index=index, columns=columns)
    frame.attrs = part("attrs")
    return frame


def _pack_index(index, where: str, box, pack_part) -> dict:
    import pandas as pd

    if type(index) is pd.RangeIndex:
        limits = [index.start, index.stop, index.step]
        return {"kind": "range index", "range": limits, "name": pack_part(index.name, where, box)}
    if type(index) is pd.MultiIndex:
        levels = [_pack_index(level, f"{where} level", box, pack_part) for level in index.levels]
        codes = [pack_part(code, f"{where} codes", box) for code in map(_plain, index.codes)]
        names = pack_part(list(index.names), f"{where} names", box)
        return {"kind": "multi index", "levels": levels, "codes": codes, "names": names}
    if getattr(index, "freq", None) is not None:
        raise NotKeepable(f"{where} has a frequency, which can't be kept: set its freq to None.")
    return {
        "kind": "index",
        "values": _pack_values(index, where, box, pack_part),
        "name": pack_part(index.name, f"{where} name", box),
    }


def _pack_values(values, where: str, box, pack_part) -> Any:
    """Pack the values of a Series or of an Index according to their dtype."""
    import numpy as np
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        return pack_part(values.to_numpy(), where, box)
    if isinstance(dtype, pd.StringDtype):
        return {
            "kind": "string",
            "storage": dtype.storage,
            "missing": "NA" if dtype.na_value is pd.NA else "nan",
            "values": pack_part(values.to_numpy(dtype=object, na_value=None), where, box),
        }
    if isinstance(dtype, pd.CategoricalDtype):
        return {
            "kind": "category",
            "codes": pack_part(_plain(values.array.codes), f"{where} codes", box),
            "categories": _pack_index(dtype.categories, f"{where} categories", box, pack_part),
            "ordered": dtype.ordered,
        }
    if dtype.name.rstrip("0123456789") in ("Int", "UInt", "Float", "boolean"):
        plain = values.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        mask = np.asarray(values.isna())
        return {
            "kind": "masked",
            "values": pack_part(plain, where, box),
            "mask": pack_part(mask, f"{where} mask", box),
        }
    raise NotKeepable(
        f"{where} has the dtype {dtype}, which can't be kept exactly: turn it into numbers, "
        "text or categories."
    )


def _plain(codes):
    import numpy as np

    return np.array(codes)


def _dtype(values):
    """Return the dtype to insist on, where pandas would otherwise infer another from objects."""
    return getattr(values, "dtype", None)
