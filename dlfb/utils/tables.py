"""Tables as bytes: Arrow streams that never claim more memory than they are long."""

import re
import struct
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa

# Types of which a few bytes may claim many cells, or one long text in every cell.
_REPEATING = re.compile("view|run_end|struct|map<|fixed_size|[<=].*(null|dictionary)")


def table_bytes(frame: pd.DataFrame, where: str = "this") -> np.ndarray:
    """Return a table as the bytes of an uncompressed Arrow stream; TypeError if it can't be."""
    sink = pa.BufferOutputStream()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of names that would become text
            table = pa.Table.from_pandas(frame)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, UserWarning) as error:
        why = " ".join(map(str, error.args))
        raise TypeError(f"{where} is a table that can't be kept: {why}") from error
    return np.frombuffer(sink.getvalue(), np.uint8)


def table_of(data: np.ndarray) -> pd.DataFrame:
    """Return the table whose bytes these are; ValueError if it claims more than there is."""
    buffer = pa.py_buffer(data)
    if any(map(_is_compressed, pa.ipc.MessageReader.open_stream(buffer))):
        raise ValueError("a compressed table might have any size")
    table = pa.ipc.open_stream(buffer).read_all()
    table.validate(full=True)
    # A cell takes a bit or more. Memory that columns share is in nbytes once for each of them.
    if max(table.num_rows * table.num_columns / 8, table.nbytes) > data.nbytes:
        raise ValueError("the table claims more than there is")
    for column in table.schema:
        if _REPEATING.search(str(column.type)):
            raise ValueError(f"cells of {column.type} can't be kept (column {column.name})")
    return table.to_pandas()


def _is_compressed(message: pa.Message) -> bool:
    """Say if a batch has Arrow's field ``compression``; pyarrow tells after it took the memory."""

    def number(at: int, code: str = "<I") -> int:
        return struct.unpack_from(code, message.metadata, at)[0]

    def field(table: int, index: int) -> int:  # its place, 0 if the table has none
        layout, entry = table - number(table, "<i"), 4 + 2 * index
        offset = number(layout + entry, "<H") if entry < number(layout, "<H") else 0
        return offset and table + offset

    def inner(table: int, index: int) -> int:
        return field(table, index) + number(field(table, index))

    batch = inner(number(0), 2)
    if message.type == "dictionary":
        batch = inner(batch, 1)
    return message.type != "schema" and bool(field(batch, 3))
