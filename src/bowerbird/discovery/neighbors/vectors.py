"""Vectors with ids: what every search starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

NOBODY = -1  # stands where a query has fewer neighbours than were asked for; its score is -inf


@dataclass(frozen=True, slots=True)
class SetAside:
    """Rows that could not become a vector, counted by reason."""

    no_id: int = 0
    no_vector: int = 0
    wrong_width: int = 0
    not_finite: int = 0
    repeated_id: int = 0

    @property
    def total(self) -> int:
        return self.no_id + self.no_vector + self.wrong_width + self.not_finite + self.repeated_id


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Rows sorted by id, each id once, every number finite.

    The order is part of the contract: equal scores are ordered by id, and sorted rows make that
    the order of the rows.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.ids):
            raise UserError(
                f"vectors of shape {self.values.shape} for {len(self.ids)} ids",
                expected="one row of numbers an id",
            )
        if self.values.dtype != np.float32 or self.ids.dtype != np.int64:
            raise UserError(
                f"ids are {self.ids.dtype} and vectors {self.values.dtype}",
                expected="int64 ids and float32 vectors",
            )
        if np.any(self.ids[1:] <= self.ids[:-1]):
            raise UserError(
                "ids are not sorted, or one comes twice", fix="Vectors.of(ids, values) sorts them"
            )
        if np.any(self.ids == NOBODY):
            raise UserError(f"id {NOBODY} is taken: it means no neighbour", expected="another id")
        if not np.isfinite(self.values).all():
            rows = np.flatnonzero(~np.isfinite(self.values).all(axis=1))
            raise UserError(
                f"{len(rows)} vectors hold NaN or infinity, the first of id {self.ids[rows[0]]}",
                fix="Vectors.from_table sets such rows aside and counts them",
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    @classmethod
    def of(cls, ids: NDArray[np.integer], values: NDArray[np.floating]) -> Vectors:
        """Sort by id and convert; raises for repeated ids and numbers that are not finite."""
        order = np.argsort(ids, kind="stable")
        return cls(
            np.ascontiguousarray(np.asarray(ids)[order], dtype=np.int64),
            np.ascontiguousarray(np.asarray(values)[order], dtype=np.float32),
        )

    @classmethod
    def from_table(
        cls,
        table: pa.Table,
        *,
        id_column: str,
        vector_column: str,
    ) -> tuple[Vectors, SetAside]:
        """Read ids and lists of numbers; set aside the rows that make no vector.

        The width is that of a fixed-size list, else the most frequent one. Of rows with the same id
        the first stays.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        has_id = np.asarray(pc.fill_null(pc.not_equal(table[id_column], NOBODY), False))
        has_vector = np.asarray(pc.is_valid(table[vector_column]))
        kept = table.filter(pa.array(has_id & has_vector))
        lengths = np.asarray(pc.list_value_length(kept[vector_column]), dtype=np.int64)
        width = int(np.bincount(lengths).argmax()) if len(lengths) else 0
        right = lengths == width
        kept = kept.filter(pa.array(right))
        flat = pc.list_flatten(kept[vector_column]).cast(pa.float32())
        values = np.asarray(flat.to_numpy(), dtype=np.float32).reshape(kept.num_rows, width)
        ids = np.asarray(kept[id_column].cast(pa.int64()).to_numpy(), dtype=np.int64)
        finite = np.isfinite(values).all(axis=1)
        ids, values = ids[finite], values[finite]
        ids, first = np.unique(ids, return_index=True)
        aside = SetAside(
            no_id=int((~has_id).sum()),
            no_vector=int((has_id & ~has_vector).sum()),
            wrong_width=int((~right).sum()),
            not_finite=int((~finite).sum()),
            repeated_id=int(finite.sum()) - len(first),
        )
        return cls(ids, np.ascontiguousarray(values[first])), aside

    def take(self, rows: NDArray[np.integer]) -> Vectors:
        """The rows at these positions, which must rise."""
        return Vectors(self.ids[rows], self.values[rows])


def sample(vectors: Vectors, n: int, *, seed: int) -> Vectors:
    """`n` of the rows (all, when there are fewer), the same ones for the same seed."""
    chosen = np.random.default_rng(seed).permutation(len(vectors))[:n]
    return vectors.take(np.sort(chosen))
