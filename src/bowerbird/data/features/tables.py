"""Statistics of a table's version, by partition: read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bowerbird.core.errors import SpecError, UserError
from bowerbird.data.features.figures import StatisticsView, statistics_view
from bowerbird.data.features.kinds import Kind, guess
from bowerbird.data.features.statistics import Statistics, summarise
from bowerbird.lake import Lake, identifier, snapshots, streams
from bowerbird.lake.failures import translated
from bowerbird.lake.read import Planned, plan

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import FileScanTask


def statistics_of(
    lake: Lake,
    ref: str,
    version: str | None = None,
    cells: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, Kind] | None = None,
) -> dict[str, dict[str, Statistics]]:
    """Partition -> column -> statistics, by sketches. Every row of what is asked for is read once.

    version: one, or a branch or tag; None: as it is now. columns: None: all that have a kind; a
    struct has none. kinds: those that are declared.
    """
    found = plan(lake, ref, version, columns or _with_a_kind(lake, ref, version), cells=cells)
    parts: dict[str, list[FileScanTask]] = {}
    for task in found.tasks:
        parts.setdefault(snapshots.part_of(found.table.metadata, task.file), []).append(task)
    with translated(f"reading {identifier(ref)}"):
        return {
            part: summarise(_batches(found, tasks), kinds) for part, tasks in sorted(parts.items())
        }


def view_of(
    lake: Lake,
    ref: str,
    version: str | None = None,
    against: str | None = None,
    cells: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> StatisticsView:
    """What is shown of a version, beside another if one is named.

    Raises `UserError` where there is no row to look at.
    """
    parts = statistics_of(lake, ref, version, cells, columns)
    if not parts:
        raise UserError(f"{identifier(ref)} has no row to look at", expected="a table with rows")
    before = None if against is None else statistics_of(lake, ref, against, cells, columns)
    return statistics_view(
        identifier(ref).replace(".", "/", 1),
        _named(lake, ref, version),
        parts,
        against="" if against is None else _named(lake, ref, against),
        before=before,
    )


def _named(lake: Lake, ref: str, version: str | None) -> str:
    return str(plan(lake, ref, version, columns=()).version)


def _with_a_kind(lake: Lake, ref: str, version: str | None) -> list[str]:
    found = []
    for field in plan(lake, ref, version).arrow_schema():
        try:
            guess(field.name, field.type)
        except SpecError:
            continue
        found.append(field.name)
    return found


def _batches(found: Planned, tasks: Sequence[FileScanTask]) -> Iterator[pa.RecordBatch]:
    for block in streams.blocks(found, tasks):
        yield from block.combine_chunks().to_batches()
