"""A batch at the level of requests: the user's side once a request, the items' side a row each.

A request for a page of fifty items has one user, one history and one moment. Held once, they take
a fiftieth of the memory, and a model reads a history once (`user`), not fifty times; `expand` comes
as late as the model can bear. What sorting by request does to a batch, and the remedies: `drift`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bowerbird.data.samples.arrays import taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RequestBatch:
    """n rows of r requests: `user` has r rows, `rows` has n; row i belongs to request `of[i]`.

    `of` is int64 (n,). The columns of a flat batch are those of both sides, in the order `names`.
    """

    user: pa.RecordBatch
    rows: pa.RecordBatch
    of: Ints
    names: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def requests(self) -> int:
        return int(self.user.num_rows)

    @property
    def nbytes(self) -> int:
        return int(self.user.nbytes + self.rows.nbytes) + self.of.nbytes

    @property
    def offsets(self) -> Ints:
        """Request j's rows are ``offsets[j]:offsets[j + 1]``, int64 (r + 1,), if they lie together.

        Raises `ValueError` where they do not (a set whose order is not "requests").
        """
        if len(self.of) and (np.diff(self.of) < 0).any():
            raise ValueError(
                "the rows of a request do not lie together; declare order='requests', or call "
                "by_request()"
            )
        return np.searchsorted(self.of, np.arange(self.requests + 1)).astype(np.int64)

    def by_request(self) -> RequestBatch:
        """The same rows, those of a request together."""
        import pyarrow as pa

        order = np.argsort(self.of, kind="stable")
        return RequestBatch(self.user, self.rows.take(pa.array(order)), self.of[order], self.names)

    def expand(self) -> pa.RecordBatch:
        """The flat batch: the user's side repeated for each row."""
        import pyarrow as pa

        same = self.requests == len(self) and bool((self.of == np.arange(len(self))).all())
        wide = self.user.columns if same else [taken(one, self.of) for one in self.user.columns]
        sides = dict(zip(self.user.schema.names, wide, strict=True))
        sides |= dict(zip(self.rows.schema.names, self.rows.columns, strict=True))
        return pa.RecordBatch.from_arrays([sides[name] for name in self.names], list(self.names))

    def in_batch_mask(self, user: str, item: str | None = None) -> Mask:
        """Which items are negatives of which rows, bool (n, n): row i may take item j as one.

        Not of its own user (column `user`): of a batch that is sorted by request, many items that
        an in-batch softmax would call negative are the user's own positives. Nor, with a column
        `item`, the row's own item where another row has it. The diagonal is True: it is the row's
        own positive.
        """
        users = _codes(self._wide(user))
        allowed: Mask = users[:, None] != users[None, :]
        if item is not None:
            items = _codes(self._wide(item))
            allowed &= items[:, None] != items[None, :]
        np.fill_diagonal(allowed, val=True)
        return allowed

    def _wide(self, name: str) -> pa.Array:
        import pyarrow as pa

        if name in self.user.schema.names:
            return self.user.column(name).take(pa.array(self.of))
        return self.rows.column(name)


def in_batch_mask_reference(users: Sequence[object], items: Sequence[object] | None) -> Mask:
    """`RequestBatch.in_batch_mask` a pair at a time."""
    n = len(users)
    allowed = np.zeros((n, n), dtype=bool)
    for i in range(n):
        for j in range(n):
            other = users[i] != users[j] and (items is None or items[i] != items[j])
            allowed[i, j] = i == j or other
    return allowed


def joined(parts: Sequence[RequestBatch]) -> RequestBatch:
    """Several batches (at least one) as one; requests are not looked for again across them."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(part.requests for part in parts)])
    return RequestBatch(
        user=_concatenated([part.user for part in parts]),
        rows=_concatenated([part.rows for part in parts]),
        of=np.concatenate([part.of + start for part, start in zip(parts, starts, strict=False)]),
        names=parts[0].names,
    )


def _concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.concat_batches(list(batches))


def _codes(array: pa.Array) -> Ints:
    coded = array.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(codes, dtype=np.int64)
