"""PyIceberg's transaction, less the copies. Imports PyIceberg at its top, as `sql` does."""

from __future__ import annotations

from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableUpdate


class HouseTransaction(Transaction):
    """It computes what the table will be once for each change, and not at each look.

    PyIceberg copies all metadata, every snapshot in it, whenever anything asks for the table as it
    will be, some thirty times a commit: `benchmarks/lake_commits.py` shows what that costs.
    """

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._known: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        base, updates = self._table.metadata, self._updates
        if not updates:
            return base  # nobody changes metadata in place: every change makes a new one
        known = self._known
        if known is None or known[0] is not base or known[1] is not updates:
            known = self._known = (base, updates, super().table_metadata)
        return known[2]
