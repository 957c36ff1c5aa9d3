"""How Parquet lays a column out: tried on some rows, column by column, and the smallest taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 16 * 1024
"""So many rows are tried."""

WORTH = 0.9
"""Another encoding than the dictionary is taken where it needs less than this share of its bytes:
dictionaries are what every engine reads fastest."""

_OTHERS = {"DELTA_BINARY_PACKED": "integers and times", "PLAIN": "all"}


class Encoding(msgspec.Struct, frozen=True):
    """What the columns are written as. row_bytes: about what a row takes in a file."""

    options: dict[str, Any]
    row_bytes: float


def chosen(rows: pa.Table) -> Encoding:
    """The encodings for rows like these (in the order in which they will be written)."""
    import pyarrow.types as at

    some = rows.slice(0, SAMPLE)
    sizes = _sizes(some, {"use_dictionary": True})
    plain = _sizes(some, {"use_dictionary": False})
    whole = [f.name for f in some.schema if at.is_integer(f.type) or at.is_temporal(f.type)]
    whole = [name for name in whole if not at.is_duration(some.schema.field(name).type)]
    deltas = _sizes(
        some.select(whole),
        {"use_dictionary": False, "column_encoding": dict.fromkeys(whole, "DELTA_BINARY_PACKED")},
    )
    taken: dict[str, str] = {}
    for column, size in sizes.items():
        rivals = {"PLAIN": plain[column], "DELTA_BINARY_PACKED": deltas.get(column, size)}
        best = min(rivals, key=lambda name: rivals[name])
        if rivals[best] < WORTH * size:
            taken[column] = best
            sizes[column] = rivals[best]
    return Encoding(
        options={
            "compression": "zstd",
            "use_dictionary": [column for column in sizes if column not in taken] or False,
            "column_encoding": {c: e for c, e in taken.items() if e != "PLAIN"} or None,
            "write_page_index": True,
            "write_page_checksum": True,
        },
        row_bytes=sum(sizes.values()) / max(some.num_rows, 1),
    )


def _sizes(rows: pa.Table, options: dict[str, Any]) -> dict[str, int]:
    """The bytes of each column (a nested one has several) in a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not rows.num_columns:
        return {}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, compression="zstd", **options) as writer:
        writer.write_table(rows)
    found: dict[str, int] = {}
    for at in range(writer.writer.metadata.num_row_groups):
        group = writer.writer.metadata.row_group(at)
        for column in (group.column(one) for one in range(group.num_columns)):
            path = column.path_in_schema
            found[path] = found.get(path, 0) + column.total_compressed_size
    return found
