"""Samples of keys: the same keys in every table, at any time, read from a few of the files.

Where a key lies in a sample is decided by its hash alone. Let ``h`` be Iceberg's bucket hash of the
key: murmur3 (x86, 32 bits, seed 0) of its bytes, without the sign bit, so 31 bits.

- ``Buckets(k, n)`` holds the keys with ``h mod n < k``: the first `k` of `n` buckets.
- ``Share(s)`` holds the keys with ``reversed(h) < s * 2**31``, where `reversed` writes the 31 bits
  of `h` from the last to the first. The last bits of `h` are the bucket, where counts are powers of
  two, so a small share lies in few buckets; it grows one bucket after another, and a larger share
  holds all of a smaller one.

So a sample of one table joins with that of another, whatever their counts of buckets: counts only
decide how little has to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.core.refs import Ref
from bowerbird.lake import partitions, streams
from bowerbird.lake.catalog import Lake
from bowerbird.lake.joins import buckets
from bowerbird.lake.joins.buckets import Bucket, Bucketed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from bowerbird.lake.read import Where

BITS = 31


class Share(msgspec.Struct, frozen=True, tag="share"):
    """A share of all keys: more than 0, at most 1."""

    share: float

    @property
    def part(self) -> Fraction:
        """The exact part of all hashes that it takes."""
        return Fraction(self._below, 2**BITS)

    @property
    def _below(self) -> int:
        """The first hash, its bits reversed, that is not in it."""
        return ceil(self.share * (1 << BITS))

    def takes(self, hashes: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of these hashes are in it."""
        taken: NDArray[np.bool_] = bits_reversed(hashes) < self._below
        return taken

    def covers(self, bucket: int, count: int) -> bool | None:
        """Whether all (True), none (False) or some (None) of a bucket's keys are in it."""
        known = (count & -count).bit_length() - 1  # so many last bits of h are the bucket's
        low = int(f"{bucket % 2**known:0{known}b}"[::-1], 2) if known else 0
        first, end = low << (BITS - known), (low + 1) << (BITS - known)
        return True if end <= self._below else False if first >= self._below else None


class Buckets(msgspec.Struct, frozen=True, tag="buckets"):
    """The first `k` of `n` buckets, whatever the table's own count is."""

    k: int
    n: int

    @property
    def part(self) -> Fraction:
        return Fraction(self.k, self.n)

    def takes(self, hashes: NDArray[np.uint32]) -> NDArray[np.bool_]:
        taken: NDArray[np.bool_] = hashes % self.n < self.k
        return taken

    def covers(self, bucket: int, count: int) -> bool | None:
        if count % self.n == 0:
            return bucket % self.n < self.k
        if self.n % count == 0:  # this bucket is made of these of `n`
            inside = [one < self.k for one in range(bucket, self.n, count)]
            return True if all(inside) else None if any(inside) else False
        return None


Of = Share | Buckets


class Sample(msgspec.Struct, frozen=True):
    """A sample of one version of a table. It can be pickled.

    whole: the buckets that are in it entirely. part: those of which some keys are.
    """

    key: str
    of: Of
    table: Bucketed
    whole: tuple[Bucket, ...]
    part: tuple[Bucket, ...]


class SampleView(msgspec.Struct, frozen=True):
    """What reading a sample takes. rows, bytes: read, of all that the table has."""

    table: str
    version: str | None
    key: str
    share: float
    buckets: int
    files: int
    rows: int
    bytes: int
    all_files: int
    all_rows: int
    all_bytes: int


def bucket_sample(
    lake: Lake,
    ref: Ref | str,
    key: str,
    of: Of,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
) -> Sample:
    """Pin a version of a table bucketed by `key`, and find the files that hold the sample.

    Rows whose key is null are in no sample. columns: what is read beside the key; None: all.
    Raises `UserError` for a table that is not bucketed by the key: it would have to be read whole.
    """
    check(of)
    wanted = None if columns is None else list(dict.fromkeys([key, *columns]))
    table = buckets.bucketed(lake, ref, key, version, wanted, where)
    covers = {b: of.covers(b, table.count) for b in range(table.count) if table.of(b)}
    whole = tuple(b for b, covered in covers.items() if covered)
    part = tuple(b for b, covered in covers.items() if covered is None)
    return Sample(key, of, table, whole, part)


def check(of: Of) -> None:
    """Raise `UserError` for a sample of nothing, or of more than there is."""
    if isinstance(of, Share) and not 0 < of.share <= 1:
        raise UserError(f"a share of {of.share}", expected="more than 0, at most 1: 0.01 is 1 %")
    if isinstance(of, Buckets) and not 1 <= of.k <= of.n:
        raise UserError(f"{of.k} of {of.n} buckets", expected="1 to n of n buckets")


def explain(sample: Sample) -> SampleView:
    """What reading a sample takes."""
    table = sample.table
    read = [task for b in (*sample.whole, *sample.part) for task in table.of(b)]
    every = [task for tasks in table.files.values() for task in tasks]
    files, rows, size = buckets.total(table, read)
    all_files, all_rows, all_size = buckets.total(table, every)
    return SampleView(
        table=table.name,
        version=None if table.version is None else str(table.version),
        key=sample.key,
        share=float(sample.of.part),
        buckets=len(sample.whole) + len(sample.part),
        files=files,
        rows=rows,
        bytes=size,
        all_files=all_files,
        all_rows=all_rows,
        all_bytes=all_size,
    )


def sample_rows(lake: Lake, sample: Sample) -> Iterator[pa.Table]:
    """The rows of a sample, a block at a time."""
    table = lake.load(sample.table.name)
    for bucket in (*sample.whole, *sample.part):
        found = sample.table.found(table, bucket)
        for block in streams.blocks(found):
            rows = block if bucket in sample.whole else _taken(block, sample)
            if rows.num_rows:
                yield rows


def _taken(rows: pa.Table, sample: Sample) -> pa.Table:
    import pyarrow as pa

    kind = sample.table.schema.find_type(sample.key)
    hashes = partitions.hashes(rows.column(sample.key), kind)
    return rows.filter(pa.array(sample.of.takes(hashes)))


def bits_reversed(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The 31 bits of each, from the last to the first."""
    import numpy as np

    word = hashes.astype(np.uint32)
    for by, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        mask_of, shift = np.uint32(mask), np.uint32(by)
        word = ((word >> shift) & mask_of) | ((word & mask_of) << shift)
    word = (word >> np.uint32(16)) | (word << np.uint32(16))
    return word >> np.uint32(1)
