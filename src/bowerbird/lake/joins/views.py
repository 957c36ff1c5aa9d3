"""What a join will do, before it runs: files, rows, bytes, memory, tasks."""

from __future__ import annotations

import msgspec

from bowerbird.lake.joins import buckets
from bowerbird.lake.joins.join import JoinPlan
from bowerbird.lake.joins.merging import RUN_BYTES
from bowerbird.lake.joins.specs import Side


class SideView(msgspec.Struct, frozen=True):
    """One table of a join.

    how: ``first``, ``asof``, or the kind of join. buckets: as the table has them.
    files, rows, bytes: read by all tasks together; bytes are those of the columns that are read,
    as they lie on disk. streams: sorted ones that one task merges at most.
    sorted_rows: of these, those that lie in another order and are sorted first, by way of the disk.
    """

    table: str
    version: str | None
    how: str
    on: tuple[str, ...]
    order: tuple[str, ...]
    buckets: int
    files: int
    rows: int
    bytes: int
    streams: int
    sorted_rows: int


class JoinView(msgspec.Struct, frozen=True):
    """A join. memory: bytes that one task holds at most, about; shuffled: always 0, by design."""

    on: tuple[str, ...]
    columns: tuple[str, ...]
    tasks: int
    memory: int
    rows: int
    bytes: int
    tables: tuple[SideView, ...]
    shuffled: int = 0

    def __str__(self) -> str:
        head = f"join by {', '.join(self.on)}: {self.tasks} tasks, {self.rows:,} rows and "
        head += f"{self.bytes:,} bytes read, none shuffled; at most about {self.memory:,} a task"
        lines = [head]
        for side in self.tables:
            way = f"{side.streams} streams merged"
            if side.sorted_rows:
                way += f", {side.sorted_rows:,} rows sorted first (not in order of "
                way += f"{', '.join(side.order)})"
            lines.append(
                f"  {side.how:<6} {side.table} at {side.version}: {side.buckets} buckets, "
                f"{side.files} files, {side.rows:,} rows, {way}"
            )
        return "\n".join(lines)


def explain(plan: JoinPlan) -> JoinView:
    """What carrying out a join will read, and take."""
    sides = tuple(_side(plan, place) for place in range(len(plan.tables)))
    per_task = (sum(t.memory(bucket) for t in plan.tables) for bucket in plan.buckets)
    return JoinView(
        on=plan.on,
        columns=tuple(plan.schema().names),
        tasks=len(plan.buckets),
        memory=max(per_task, default=0) + RUN_BYTES,
        rows=sum(side.rows for side in sides),
        bytes=sum(side.bytes for side in sides),
        tables=sides,
    )


def _side(plan: JoinPlan, place: int) -> SideView:
    sides: list[Side] = [plan.join.left, *plan.join.others]
    side, table = sides[place], plan.tables[place]
    tasks = [task for bucket in plan.buckets for task in table.of(bucket)]
    files, rows, size = buckets.total(table, tasks)
    loose = [task for task in tasks if task.file.file_path in table.loose]
    return SideView(
        table=table.name,
        version=None if table.version is None else str(table.version),
        how="first" if place == 0 else plan.join.others[place - 1].told,
        on=side.keys,
        order=table.by,
        buckets=table.own,
        files=files,
        rows=rows,
        bytes=size,
        streams=max((table.ways.get(bucket, 0) for bucket in plan.buckets), default=0),
        sorted_rows=sum(task.file.record_count for task in loose),
    )
