"""Nulls that PyIceberg 0.12 loses: a null list, or map, of structs is read as an empty one.

It is so wherever a file's columns are not the table's (one was added, dropped, renamed, moved):
PyIceberg then builds such a column anew from its offsets alone. `kept` has it put the nulls back;
`tests/lake/test_nulls.py` fails once PyIceberg does so itself, and then this module can go.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@cache
def kept() -> None:
    """From now on, in this process, PyIceberg keeps them. Called before each read."""
    from pyiceberg.io.pyarrow import ArrowProjectionVisitor

    visitor: Any = ArrowProjectionVisitor
    visit_list, visit_map = visitor.list, visitor.map

    def list_with_nulls(self: Any, kind: Any, came: Any, *inner: Any) -> Any:
        return _restored(came, visit_list(self, kind, came, *inner))

    def map_with_nulls(self: Any, kind: Any, came: Any, *inner: Any) -> Any:
        return _restored(came, visit_map(self, kind, came, *inner))

    visitor.list, visitor.map = list_with_nulls, map_with_nulls


def _restored(came: pa.Array | None, made: pa.Array | None) -> pa.Array | None:
    import pyarrow as pa

    if came is None or made is None or came.null_count == made.null_count:
        return made
    nulls = came.is_null()
    if isinstance(made, pa.MapArray):
        return pa.MapArray.from_arrays(
            made.offsets, made.keys, made.items, type=made.type, mask=nulls
        )
    return type(made).from_arrays(made.offsets, made.values, type=made.type, mask=nulls)
