"""Views of tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from bowerbird.cli.screen import ago, out, size
from bowerbird.cli.screen import table as grid

if TYPE_CHECKING:
    from bowerbird.lake.query import Answer, Sampled
    from bowerbird.lake.upkeep.health import Health
    from bowerbird.lake.upkeep.statistics import ColumnStatistics
    from bowerbird.lake.versions.diff import Diff
    from bowerbird.lake.versions.rollback import Rollback
    from bowerbird.lake.views import FileView, TableLine, TableView, Versions


def tables(shown: Sequence[TableLine]) -> None:
    """A line a table."""
    rows = [[one.name, f"{one.rows:,}", f"{one.files:,}", size(one.bytes)] for one in shown]
    grid("", ["table", "rows", "files", "size"], rows)
    if not rows:
        out.print("no tables yet; try: bowerbird apply")


def table(shown: TableView) -> None:
    """Columns, layout, size."""
    out.print(Text(shown.name, style="bold"), f"  {shown.owner}", sep="")
    if shown.description:
        out.print(shown.description, markup=False)
    facts = f"{shown.rows:,} rows, {shown.files:,} files, {size(shown.bytes)}"
    out.print(f"{facts}, version {shown.version or 'none yet'}")
    for word, columns in (("partitioned by", shown.partition), ("sorted by", shown.sort)):
        if columns:
            out.print(f"{word} {', '.join(columns)}", markup=False)
    grid("", ["column", "type"], [[name, kind] for name, kind in shown.columns.items()])


def files(shown: Sequence[FileView]) -> None:
    """A line a file."""
    rows = [
        [
            one.part,
            f"{one.rows:,}",
            size(one.bytes),
            "yes" if one.sorted else "no",
            f"{one.deletes:,}" if one.deletes else "",
            one.path.rpartition("/data/")[2],
        ]
        for one in shown
    ]
    grid("", ["partition", "rows", "size", "sorted", "deletes", "file"], rows)


def versions(shown: Versions) -> None:
    """A line a version; its branches and tags beside it."""
    names: dict[str, list[str]] = {}
    for one in shown.names:
        names.setdefault(one.version, []).append(f"{one.kind} {one.name}")
    rows = [
        [
            one.version,
            ago(one.at),
            one.operation,
            f"{one.rows:,}",
            one.by,
            ", ".join(names.pop(one.version, [])),
        ]
        for one in shown.versions
    ]
    rows += [[version, "", "", "", "", ", ".join(given)] for version, given in names.items()]
    grid("", ["version", "made", "by way of", "rows", "by", "named"], rows)


def diff(shown: Diff) -> None:
    """Totals, then partitions, then columns."""
    out.print(f"{shown.name}: {shown.before} → {shown.after}", markup=False)
    before, after = shown.rows
    out.print(
        f"rows {before:,} → {after:,} ({after - before:+,}), "
        f"files -{len(shown.files_removed):,} +{len(shown.files_added):,}"
    )
    if shown.same_rows:
        out.print("no row changed")
    cells = [
        [
            one.cell,
            f"{one.rows[0]:,}",
            f"{one.rows[1]:,}",
            f"-{one.files_removed} +{one.files_added}",
        ]
        for one in shown.cells
    ]
    if cells:
        grid("", ["partition", "rows before", "after", "files"], cells)
    changes = [[n, str(was or "-"), str(now or "-")] for n, (was, now) in shown.schema.items()]
    changes += [[was, was, f"now named {now}"] for was, now in shown.renamed.items()]
    if changes:
        grid("", ["column", "before", "after"], changes)
    columns = [
        [one.column, *(f"{_cut(a)} → {_cut(b)}" for a, b in (one.nulls, one.low, one.high))]
        for one in shown.columns
    ]
    if columns:
        grid("", ["column", "nulls", "least", "greatest"], columns)


def answer(shown: Answer) -> None:
    """Rows as they came."""
    grid("", list(shown.columns), [[_cut(value, 40) for value in row] for row in shown.rows])
    if shown.more:
        out.print("… and more (--rows shows as many as you say)")


def sampled(shown: Sampled) -> None:
    """What was read for it, and the rows."""
    one = shown.sample
    out.print(
        f"{one.share:.2%} of the keys of {one.table}: {one.rows:,} of {one.all_rows:,} rows read, "
        f"{one.files:,} of {one.all_files:,} files, {size(one.bytes)} of {size(one.all_bytes)}",
        markup=False,
    )
    answer(shown.answer)


def health(shown: Health) -> None:
    """The figures, the verdicts, and the partitions that are furthest from well."""
    middle, most = shown.files_a_part
    out.print(Text(shown.name, style="bold"))
    rows = [
        ["rows", f"{shown.rows:,} in {shown.parts:,} partitions, {size(shown.bytes)}"],
        ["files", f"{shown.files:,}, {shown.small_files:,} of them small"],
        ["files a partition", f"{middle:,} in the middle, {most:,} at most"],
        ["files that share a key", f"{shown.depth:,} at most"],
        ["rows out of order", f"{shown.unsorted:.1%}"],
        ["delete files", f"{shown.delete_files:,}"],
        ["versions", f"{shown.versions:,}, {shown.old:,} of them old"],
        ["metadata", f"{size(shown.metadata_bytes)} in {shown.manifests:,} manifests"],
    ]
    grid("", ["", ""], rows)
    for verdict in shown.verdicts:
        out.print(Text("   - ", style="yellow" if verdict.fix else "green"), verdict.text, sep="")
        if verdict.fix:
            out.print(Text("     try: ", style="dim"), Text(verdict.fix, style="bold"), sep="")
    worst = [[one.part, f"{one.files:,}", ", ".join(one.reasons)] for one in shown.worst]
    if worst:
        grid("", ["partition", "files", "why"], worst)


def statistics(shown: Sequence[ColumnStatistics]) -> None:
    """A line a column of a partition."""
    rows = [
        [
            one.part,
            one.column,
            f"{one.rows:,}",
            "?" if one.nulls is None else f"{one.nulls:,}",
            "?" if one.bytes is None else size(one.bytes),
            _cut(one.low),
            _cut(one.high),
        ]
        for one in shown
    ]
    grid("", ["partition", "column", "rows", "nulls", "size", "least", "greatest"], rows)


def rollback(shown: Rollback) -> None:
    """The files that come back and those that go."""
    out.print(f"back to version {shown.to}; 0 bytes of data are written")
    rows = [
        [word, one.cell, f"{one.rows:,}", size(one.bytes), one.path.rpartition("/data/")[2]]
        for word, moved in (("back", shown.files_back), ("out", shown.files_out))
        for one in moved
    ]
    grid("", ["", "partition", "rows", "size", "file"], rows)


def _cut(value: Any, most: int = 24) -> str:
    text = "-" if value is None else str(value)
    if isinstance(value, datetime):
        text = value.strftime("%Y-%m-%d %H:%M:%S")
    return text if len(text) <= most else text[: most - 1] + "…"
