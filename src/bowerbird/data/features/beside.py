"""Statistics of what is staged, beside what is live in the same partitions of a training table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.core.specs import Spec, of_kind
from bowerbird.data.features.backfill import column_name, groups_of
from bowerbird.data.features.figures import StatisticsView, statistics_view
from bowerbird.data.features.promote import staged_columns
from bowerbird.data.features.specs import Backfill, Promotion
from bowerbird.data.features.statistics import Statistics
from bowerbird.data.features.tables import statistics_of
from bowerbird.lake import Lake, Table, parts
from bowerbird.lake.read import plan

TOGETHER = 8
"""So many partitions are read to be shown: enough to see what moved, and read in a moment."""

_Parts = dict[str, dict[str, Statistics]]


class Beside(msgspec.Struct, frozen=True):
    """The figures of both; cells: the partitions that were read, of so many that are there."""

    view: StatisticsView
    cells: tuple[str, ...]
    there: int


def beside(
    lake: Lake,
    spec: Backfill | Promotion,
    taker: Promotion | None,
    specs: Mapping[str, Spec],
    waiting: Collection[str],
) -> Beside:
    """What is staged by one backfill, or by all that a promotion takes.

    taker: the promotion whose training table it is set beside. waiting: partitions that are not
    promoted as they are; where there are some, they are shown and no others.
    Raises `UserError` where nothing is staged.
    """
    staged = [spec] if isinstance(spec, Backfill) else _backfills(spec, specs)
    names = _columns(staged, taker, specs)
    there = [ref for ref in names if lake.exists(ref)]
    cells = sorted(
        set.intersection(*(set(parts.sizes(lake, ref)) for ref in there)) if there else ()
    )
    if not cells or len(there) < len(names):
        lacking = next((ref for ref in names if ref not in there), next(iter(names)))
        raise UserError(
            f"{lacking} has no row to look at",
            expected="rows that were staged",
            fix=f"bowerbird features backfill {lacking}",
        )
    shown = ([cell for cell in cells if cell in waiting] or cells)[-TOGETHER:]
    found = _joined([statistics_of(lake, ref, None, shown, names[ref]) for ref in there])
    version = ", ".join(str(plan(lake, ref, columns=()).version) for ref in there)
    live = (
        {} if taker is None else _live(lake, taker, shown, [n for ref in there for n in names[ref]])
    )
    view = statistics_view(
        str(spec.ref),
        version,
        found,
        against=f"{taker.into}, live" if taker is not None and live else "",
        before=live or None,
    )
    return Beside(view, tuple(shown), len(cells))


def _backfills(spec: Promotion, specs: Mapping[str, Spec]) -> list[Backfill]:
    return [of_kind(specs, ref, Backfill) for ref in spec.staged]


def _columns(
    staged: Sequence[Backfill], taker: Promotion | None, specs: Mapping[str, Spec]
) -> dict[str, tuple[str, ...]]:
    """Ref of a backfill -> its features; of those that are promoted, what is promoted."""
    if taker is not None:
        return staged_columns(of_kind(specs, taker.into, Table), staged, specs)
    return {
        str(one.ref): tuple(
            column_name(group, name) for group in groups_of(one, specs) for name in group.names
        )
        for one in staged
    }


def _live(lake: Lake, taker: Promotion, shown: Sequence[str], names: Sequence[str]) -> _Parts:
    """The same partitions as they are live; where none of them is, the newest that are."""
    table = lake.find(taker.into)
    if table is None:
        return {}
    there = list(parts.sizes(lake, taker.into))
    known = set(table.schema().column_names)
    columns = [name for name in names if name in known]
    cells = [cell for cell in there if cell in shown] or there[-TOGETHER:]
    return statistics_of(lake, taker.into, None, cells, columns) if cells and columns else {}


def _joined(found: Sequence[_Parts]) -> _Parts:
    """The columns of several tables, in the partitions that all of them have."""
    made: _Parts = {}
    for one in found:
        for cell, columns in one.items():
            made.setdefault(cell, {}).update(columns)
    return made
