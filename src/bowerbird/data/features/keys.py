"""Rows found by the value of several columns at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from bowerbird.data.features.timeline import Ints


def places(asked: pa.Table, found: pa.Table) -> Ints:
    """For each asked row the place of the equal one among `found`, whose rows are distinct; -1
    where there is none. Both have the same columns; a null equals nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if asked.num_rows == found.num_rows and asked.equals(found.cast(asked.schema)):
        return np.arange(asked.num_rows)
    if asked.num_columns == 1:
        name = asked.column_names[0]
        values = found[name].combine_chunks().cast(asked.schema.field(name).type)
        place = pc.index_in(asked[name], value_set=values, skip_nulls=True)
        return np.asarray(place.fill_null(-1).to_numpy(), dtype=np.int64)
    left = asked.append_column("\0row", pa.array(np.arange(asked.num_rows)))
    right = found.cast(asked.schema).append_column("\0place", pa.array(np.arange(found.num_rows)))
    joined = left.join(right, asked.column_names, join_type="inner")
    place = np.full(asked.num_rows, -1, dtype=np.int64)
    place[joined["\0row"].to_numpy()] = joined["\0place"].to_numpy()
    return place


def distinct(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The distinct values of some columns, in order."""
    found = rows.select(list(key)).group_by(list(key), use_threads=False).aggregate([])
    return found.select(list(key)).sort_by([(name, "ascending") for name in key])
