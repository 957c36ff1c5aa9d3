"""A group's events as they lie in the lake, with the attributes that its key names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bowerbird.core.errors import UserError
from bowerbird.data.features.compute import needed_columns, with_lookup
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.lake import Lake, parts, read
from bowerbird.lake.schema import plain_arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.schema import Schema


def source_schema(lake: Lake, group: FeatureGroup) -> pa.Schema:
    """The Arrow types of the columns that a group's events have."""
    import pyarrow as pa

    events = lake.load(group.source).schema()
    columns, lacking = _columns(events, group)
    source = plain_arrow_schema(events)
    fields = [field for field in source if columns is None or field.name in columns]
    if lacking:
        attributes = plain_arrow_schema(lake.load(group.lookup).schema())
        fields += [attributes.field(name) for name in lacking]
    return pa.schema(fields)


def events_between(
    lake: Lake,
    group: FeatureGroup,
    inputs: Mapping[str, str | None],
    fields: Mapping[str, str] | None,
    between: tuple[int | None, int | None],
) -> pa.Table:
    """Rows of a group's source that begin to count in `[start, end)`, with the attributes that its
    key names. Without a start also such as begin to count later."""
    columns, lacking = _columns(lake.load(group.source).schema(), group)
    low, high = (
        None if end is None else parts.EPOCH + timedelta(microseconds=end) for end in between
    )
    where: Any = {} if low is None and high is None else {group.at: (low, high)}
    if group.known_at and low is not None:
        where = _known_between(group, low, high)
    cell = "/".join(f"{field}={value}" for field, value in (fields or {}).items())
    rows = read(
        lake,
        group.source,
        inputs.get(group.source),
        columns=columns,
        where=where or None,
        cells=[cell] if cell else None,
    )
    if not lacking:
        return rows
    taken = [group.lookup_by, *lacking]
    attributes = read(lake, group.lookup, inputs.get(group.lookup), columns=taken)
    return with_lookup(group, rows, attributes)


def _known_between(group: FeatureGroup, low: datetime, high: datetime | None) -> BooleanExpression:
    """An event counts from the later of its two times: files whose rows were all known before are
    not opened."""
    from pyiceberg import expressions

    ex: Any = expressions  # its constructors take what their types do not say
    late = [ex.GreaterThanOrEqual(one, low) for one in (group.at, group.known_at)]
    soon = [ex.LessThan(one, high) for one in (group.at, group.known_at) if high is not None]
    found: BooleanExpression = ex.And(ex.Or(*late), *soon)
    return found


def _columns(events: Schema, group: FeatureGroup) -> tuple[list[str] | None, list[str]]:
    """What to read of the source (None: all), and what of the lookup."""
    known = events.column_names
    needed = needed_columns(group)
    lacking = [name for name in group.key if name not in known]
    never = [name for name in needed if name not in (*known, *group.key)]
    never += [] if group.lookup else lacking
    if never:
        raise UserError(
            f"{group.source} has no column {never[0]!r}",
            where=str(group.ref),
            expected=f"one of: {', '.join(known)}; or a lookup= that has what the key names",
        )
    return [name for name in needed if name in known] if group.columns else None, lacking
