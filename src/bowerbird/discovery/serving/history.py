"""What households bought: one row a product and moment, sorted, and found without a search."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One household's purchases, oldest first. `at` is in microseconds UTC.

    store: where it usually shops: most trips; of equals the lower number.
    """

    product_ids: NDArray[np.int64]
    at: NDArray[np.int64]
    store: int | None = None

    def __len__(self) -> int:
        return len(self.product_ids)

    def before(self, at: int) -> History:
        """What was known strictly before a moment. The store stays: it is a habit, not an event."""
        end = int(np.searchsorted(self.at, at, side="left"))
        return History(self.product_ids[:end], self.at[:end], self.store)


NO_HISTORY = History(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """Every household's history, in memory."""

    households: NDArray[np.int64]
    starts: NDArray[np.int64]
    product_ids: NDArray[np.int64]
    at: NDArray[np.int64]
    stores: NDArray[np.int64] | None

    @classmethod
    def from_table(cls, purchases: pa.Table) -> Histories:
        """From columns `household_id`, `product_id`, `at` and, if there is one, `store_id`.

        Rows may come in any order; a product that comes twice in a moment counts once.
        """
        household, product, at = (
            _integers(purchases, name) for name in ("household_id", "product_id", "at")
        )
        order = np.lexsort((product, at, household))
        household, product, at = household[order], product[order], at[order]
        trip = _changes(household, at)
        new = trip | _changes(product)
        known, starts = np.unique(household[new], return_index=True)
        stores = None
        if "store_id" in purchases.column_names:
            store = _integers(purchases, "store_id")[order]
            stores = _usual(household[trip], store[trip], known)
        return cls(known, np.append(starts, new.sum()), product[new], at[new], stores)

    def get(self, household: int) -> History | None:
        """None for a household that never bought anything."""
        row = int(np.searchsorted(self.households, household))
        if row == len(self.households) or self.households[row] != household:
            return None
        rows = slice(int(self.starts[row]), int(self.starts[row + 1]))
        store = None if self.stores is None else int(self.stores[row])
        return History(self.product_ids[rows], self.at[rows], store)


def microseconds(at: datetime) -> int:
    """Since 1970, exactly (a float of seconds would be off by some microseconds)."""
    return (at - EPOCH) // MICROSECOND


def moment(at: int) -> datetime:
    """The time of so many microseconds since 1970, in UTC."""
    return EPOCH + int(at) * MICROSECOND


def _integers(table: pa.Table, name: str) -> NDArray[np.int64]:
    import pyarrow as pa

    column = table[name]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)


def _changes(*columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a row differs from the one before it; the first row does."""
    changed = np.ones(len(columns[0]), dtype=bool)
    changed[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return changed


def _usual(
    household: NDArray[np.int64], store: NDArray[np.int64], known: NDArray[np.int64]
) -> NDArray[np.int64]:
    pairs, trips = np.unique(np.stack([household, store], axis=1), axis=0, return_counts=True)
    best = np.lexsort((pairs[:, 1], -trips, pairs[:, 0]))
    pairs = pairs[best]
    first: NDArray[np.int64] = np.searchsorted(pairs[:, 0], known)
    return np.ascontiguousarray(pairs[first, 1])
