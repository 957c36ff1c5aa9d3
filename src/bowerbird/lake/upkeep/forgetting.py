"""The update that takes snapshots out of a table's metadata.

It subclasses PyIceberg's own: imported late.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotsUpdate

from bowerbird.core.errors import PlanAgainError


class SameNames(AssertRefSnapshotId):
    """No branch and no tag was set, moved or removed. A catalog that is a server of its own is told
    of the one branch alone: that is all that Iceberg's protocol can say."""

    names: dict[str, int] = Field(exclude=True)

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override] # pydantic's own `validate` is a class method
        super().validate(base_metadata)
        if base_metadata is not None and names_of(base_metadata) != self.names:
            raise CommitFailedException("Requirement failed: a branch or a tag was changed")


def names_of(metadata: TableMetadata) -> dict[str, int]:
    return {name: ref.snapshot_id for name, ref in metadata.refs.items()}


def forget(tx: Transaction, table: Table, branch: str, versions: Iterable[int]) -> None:
    """Stage that these snapshots go, in the same commit as what is staged already.

    table: as it was before anything was staged. One that is gone by now is no error. Raises
    `PlanAgainError` for one that a branch or a tag names by now.
    """
    names = names_of(table.metadata)
    known = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
    going = [version for version in versions if version in known]
    for name, version in names.items():
        if version in going:
            raise PlanAgainError(
                f"{'.'.join(table.name())}: {name!r} names version {version} by now, which was to "
                "be expired",
                expected="versions that no branch and no tag names",
                fix="bowerbird table expire (it plans again)",
            )
    if going:
        tx._apply((RemoveSnapshotsUpdate.model_validate({"snapshot-ids": going}),))
        # Not by `_apply`: that would hold it to what is staged, and drop it as one of its type.
        told = {"ref": branch, "snapshot-id": names.get(branch), "names": names}
        tx._requirements += (SameNames.model_validate(told),)
