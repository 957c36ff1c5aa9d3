"""Samples by key: the same keys everywhere, few files read, estimates with an honest error."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import UserError
from bowerbird.lake import Lake, Table, bucket, read
from bowerbird.lake.joins.estimates import estimate
from bowerbird.lake.joins.sample import (
    Buckets,
    Of,
    Share,
    bits_reversed,
    bucket_sample,
    explain,
    sample_rows,
)
from bowerbird.lake.partitions import hashes
from bowerbird.lake.schema import iceberg_type
from bowerbird.lake.types import parse
from tests.lake.test_join import append

USERS = 20_000
shares = st.one_of(
    st.builds(Share, st.floats(1e-6, 1.0)),
    st.integers(1, 32).flatmap(lambda n: st.builds(Buckets, st.integers(1, n), st.just(n))),
)


def sales(name: str, buckets: int) -> Table:
    columns = {"user": "long", "amount": "double", "pieces": "int"}
    return Table(f"test/{name}", schema=columns, partition=[bucket("user", buckets)], sort=["user"])


def rows(seed: int = 3, count: int = 100_000) -> pa.Table:
    random = np.random.default_rng(seed)
    user = random.integers(0, USERS, count)
    columns = {
        "user": pa.array(user, mask=random.random(count) < 0.01),
        "amount": random.exponential(10, count) + user % 7,
        "pieces": pa.array(random.integers(1, 5, count), pa.int32()),
    }
    return pa.table(columns)


@pytest.fixture
def filled(lake: Lake) -> Lake:
    append(lake, sales("sixteen", 16), rows())
    append(lake, sales("twelve", 12), rows(4))
    return lake


def keys(lake: Lake, name: str, of: Of) -> set[int]:
    sample = bucket_sample(lake, f"test/{name}", "user", of)
    parts = [part.column("user").to_pylist() for part in sample_rows(lake, sample)]
    return {key for part in parts for key in part}


@given(st.integers(0, 2**31 - 1))
def test_bits_are_reversed_as_text_is(number: int) -> None:
    found = int(bits_reversed(np.array([number], np.uint32))[0])
    assert f"{found:031b}" == f"{number:031b}"[::-1]


@given(shares, st.integers(1, 64), st.lists(st.integers(0, 2**31 - 1), min_size=1))
def test_what_is_said_of_a_bucket_is_so_of_its_keys(of: Of, count: int, numbers: list) -> None:
    hashed = np.array(numbers, np.uint32)
    for number, taken in zip(numbers, of.takes(hashed), strict=True):
        assert of.covers(number % count, count) in (bool(taken), None)


@pytest.mark.slow
@pytest.mark.parametrize("of", [Share(0.01), Share(0.2), Buckets(1, 4), Buckets(1, 2)])
def test_tables_of_other_counts_give_the_same_keys(filled: Lake, of: Of) -> None:
    one, other = (keys(filled, name, of) for name in ("sixteen", "twelve"))
    both = {*read(filled, "test/sixteen")["user"].to_pylist()} & {
        *read(filled, "test/twelve")["user"].to_pylist()
    }
    assert one & both == other & both
    assert len(one) == pytest.approx(USERS * float(of.part), rel=0.25)


def test_a_larger_share_holds_all_of_a_smaller_one(filled: Lake) -> None:
    assert keys(filled, "sixteen", Share(0.01)) < keys(filled, "sixteen", Share(0.1))


def test_a_small_share_reads_one_bucket_only(filled: Lake) -> None:
    told = explain(bucket_sample(filled, "test/sixteen", "user", Share(0.01)))
    assert (told.buckets, told.files) == (1, 1)
    assert told.bytes < told.all_bytes / 10


def test_whole_buckets_are_the_rows_of_their_files(filled: Lake) -> None:
    sample = bucket_sample(filled, "test/sixteen", "user", Buckets(1, 8))
    assert (sample.whole, sample.part) == ((0, 8), ())
    found = sum(part.num_rows for part in sample_rows(filled, sample))
    assert found == explain(sample).rows


def test_estimates_are_near_and_their_errors_are_honest(filled: Lake) -> None:
    whole = rows().filter(pa.compute.is_valid(rows()["user"]))
    amount, pieces = whole["amount"].to_numpy(), whole["pieces"].to_numpy()
    off = []
    for share in (0.05, 0.1, 0.3):
        sample = bucket_sample(filled, "test/sixteen", "user", Share(share))
        found = estimate(filled, sample, ["amount"], [("amount", "pieces")])
        assert found.exact_rows
        assert found.count.value == len(amount)
        for one, true in (
            (found.means["amount"], amount.mean()),
            (found.sums["amount"], amount.sum()),
            (found.ratios["amount/pieces"], amount.sum() / pieces.sum()),
        ):
            assert one.value == pytest.approx(true, rel=0.05)
            off.append(abs(one.value - true) / one.error)
    assert max(off) < 3.5
    assert np.mean(off) > 0.1


def test_all_keys_give_the_table_with_no_error(filled: Lake) -> None:
    sample = bucket_sample(filled, "test/sixteen", "user", Share(1.0))
    found = estimate(filled, sample, ["amount"])
    assert found.means["amount"].error == 0
    assert found.rows == found.count.value


@pytest.mark.parametrize(
    ("of", "said"), [(Share(0), "share of 0"), (Share(1.5), "at most 1"), (Buckets(5, 4), "5 of 4")]
)
def test_a_sample_of_nothing_or_too_much_is_refused(filled: Lake, of: Of, said: str) -> None:
    with pytest.raises(UserError, match=said):
        bucket_sample(filled, "test/sixteen", "user", of)


def test_a_table_that_is_not_bucketed_by_the_key_is_refused(filled: Lake) -> None:
    with pytest.raises(UserError, match="not bucketed by 'pieces'"):
        bucket_sample(filled, "test/sixteen", "pieces", Share(0.1))


def test_hashes_of_every_kind_are_icebergs() -> None:
    from pyiceberg.transforms import BucketTransform

    for text, values in {
        "long": [1, -5], "string": ["a", "iceberg"], "decimal(9,2)": [Decimal("14.20")],
    }.items():  # fmt: skip
        kind = iceberg_type(parse(text))
        hash_of = BucketTransform(1).transform(kind, bucket=False)
        wanted = [hash_of(value) & 0x7FFFFFFF for value in values]
        column = pa.chunked_array([pa.array(values)])
        assert hashes(column, kind).tolist() == wanted
