"""How a table is: its files, their order, its versions, and what to type where it is not well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.refs import Ref
from bowerbird.lake import snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.read import plan as plan_read
from bowerbird.lake.upkeep import compaction, expiry, layout
from bowerbird.lake.upkeep.layout import Limits

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable


class PartHealth(msgspec.Struct, frozen=True):
    """The files of one partition.

    depth: how many runs of files at most hold one key. unsorted: rows in files of no order.
    reasons: why it is worth rewriting; empty if it is not.
    """

    part: str
    files: int
    small: int
    rows: int
    bytes: int
    depth: int
    unsorted: int
    deletes: int
    reasons: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True):
    """What is not well, and what to type; no `fix` where all is."""

    text: str
    fix: str = ""


class Health(msgspec.Struct, frozen=True):
    """A table's health.

    unsorted: share of the rows. files_a_part: of the middle partition and of the fullest. old:
    versions that are older than expiry's age. metadata_bytes: of what a reader must load before it
    can open a data file. worst: the partitions that are furthest from well, at most ten.
    """

    name: str
    version: str | None
    rows: int
    bytes: int
    files: int
    small_files: int
    parts: int
    files_a_part: tuple[int, int]
    depth: int
    unsorted: float
    delete_files: int
    versions: int
    old: int
    manifests: int
    metadata_bytes: int
    pending: int
    verdicts: tuple[Verdict, ...] = ()
    worst: tuple[PartHealth, ...] = ()


def health(
    lake: Lake,
    ref: Ref | str,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    now: datetime | None = None,
) -> Health:
    """How a table is now. Reads its metadata alone. Raises `RefError` if there is none."""
    found = plan_read(lake, ref)
    table = found.table
    parts, left = compaction.by_part(found)
    shown = [part_health(table, part, tasks, limits) for part, tasks in sorted(parts.items())]
    rows = sum(one.rows for one in shown)
    files, deletes, manifests, size = _metadata(table)
    since = (now or datetime.now(UTC)) - expiry.AGE
    head = snapshots.head_of(table)
    made = Health(
        name=identifier(ref),
        version=str(head.snapshot_id) if head else None,
        rows=rows,
        bytes=sum(one.bytes for one in shown),
        files=files,
        small_files=sum(one.small for one in shown),
        parts=len(shown),
        files_a_part=(
            int(median(one.files for one in shown)) if shown else 0,
            max((one.files for one in shown), default=0),
        ),
        depth=max((one.depth for one in shown), default=0),
        unsorted=sum(one.unsorted for one in shown) / rows if rows else 0.0,
        delete_files=deletes,
        versions=len(table.metadata.snapshots),
        old=sum(
            one.timestamp_ms < since.timestamp() * 1000
            for one in table.metadata.snapshots
            if head is None or one.snapshot_id != head.snapshot_id
        ),
        manifests=manifests,
        metadata_bytes=size,
        pending=len(expiry.pending(table)),
        worst=tuple(sorted((one for one in shown if one.reasons), key=_badness)[:10]),
    )
    amiss = sum(bool(one.reasons) for one in shown)
    return msgspec.structs.replace(made, verdicts=verdicts(made, amiss, left))


def _badness(one: PartHealth) -> tuple[int, int, str]:
    return (-one.deletes, -one.files, one.part)


def part_health(
    table: IcebergTable, part: str, tasks: Sequence[FileScanTask], limits: Limits
) -> PartHealth:
    by, target = compaction.order_of(table), compaction.target_bytes(table)
    files = [layout.lying(table.metadata, task, by) for task in tasks]
    found = layout.groups(files, by, target, limits)
    return PartHealth(
        part=part,
        files=len(files),
        small=sum(layout.is_small(file, target, limits) for file in files),
        rows=sum(file.rows for file in files),
        bytes=sum(file.bytes for file in files),
        depth=layout.depth(files) if by else 0,
        unsorted=sum(file.rows for file in files if not file.ordered),
        deletes=sum(file.deletes for file in files),
        reasons=tuple(dict.fromkeys(why for group in found for why in group.reasons)),
    )


def _metadata(table: IcebergTable) -> tuple[int, int, int, int]:
    """Data files, delete files, manifests, and the bytes of all that says so."""
    size = len(table.io.new_input(table.metadata_location))
    head = snapshots.head_of(table)
    if head is None:
        return 0, 0, 0, size
    size += len(table.io.new_input(head.manifest_list))
    manifests = snapshots.manifests(table, head)
    size += sum(manifest.manifest_length for manifest in manifests)
    live = snapshots.live(table, head)
    deletes = sum(one.deletes for one in live)
    return len(live) - deletes, deletes, len(manifests), size


def verdicts(found: Health, amiss: int, left: int) -> tuple[Verdict, ...]:
    """What is to be said of a table, and typed. amiss: partitions that are worth rewriting; left:
    files that are partitioned otherwise than the table is now."""
    said = []
    if amiss:
        why = ", ".join(dict.fromkeys(why for one in found.worst for why in one.reasons[:1]))
        text = f"{amiss:,} of {found.parts:,} partitions are worth rewriting ({why})"
        said.append(Verdict(text, f"bowerbird table compact {found.name}"))
    if left:
        text = f"{left:,} files are partitioned otherwise than the table is now"
        said.append(Verdict(text, "bowerbird plan, to see what rewriting them takes"))
    if found.pending:
        text = f"{found.pending:,} expiries have freed files that were not deleted yet"
        said.append(Verdict(text, f"bowerbird table expire {found.name}"))
    elif found.old:
        text = f"{found.old:,} of {found.versions:,} versions are over {expiry.AGE.days} days old"
        said.append(Verdict(text, f"bowerbird table expire {found.name}"))
    return tuple(said) or (Verdict("its files lie as they should"),)
