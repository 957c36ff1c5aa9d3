"""Statistics of columns: from metadata, and from sketches that are kept with the table."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest
from pyiceberg.table.puffin import PuffinFile

from bowerbird.core.errors import UserError
from bowerbird.core.steps import Home
from bowerbird.lake import Lake, read
from bowerbird.lake.upkeep.statistics import count_distinct, distinct, statistics
from tests.lake.test_compaction import REF, filled
from tests.lake.test_expiry import expire, versions

datasketches = pytest.importorskip("datasketches")


def test_statistics_are_those_of_the_rows(lake: Lake) -> None:
    filled(lake, 2)
    for one in statistics(lake, REF, ["id", "at"]):
        rows = read(lake, REF, cells=[one.part]).column(one.column)
        bounds = pc.min_max(rows).as_py()
        assert (one.rows, one.nulls) == (len(rows), 0)
        assert (one.low, one.high) == (bounds["min"], bounds["max"])
        assert one.bytes


def test_distinct_values_are_counted_within_the_sketchs_error(lake: Lake) -> None:
    filled(lake, 5)
    counted = count_distinct(lake, REF, ["id", "at", "word"])
    for column, count in counted.items():
        truth = pc.count_distinct(read(lake, REF).column(column)).as_py()
        assert count == pytest.approx(truth, rel=0.05)
    assert distinct(lake, REF) == counted


def test_other_engines_can_read_the_sketch(lake: Lake) -> None:
    filled(lake, 1)
    counted = count_distinct(lake, REF, ["id"])
    (kept,) = lake.load(REF).metadata.statistics
    puffin = PuffinFile(Path(kept.statistics_path).read_bytes())
    (blob,) = puffin.footer.blobs
    sketch = datasketches.compact_theta_sketch.deserialize(puffin.get_blob_payload(blob))
    assert (blob.type, blob.properties) == (
        "apache-datasketches-theta-v1",
        {"ndv": str(counted["id"])},
    )
    assert round(sketch.get_estimate()) == counted["id"]


def test_a_type_that_others_would_hash_otherwise_is_refused(lake: Lake) -> None:
    from bowerbird.lake import Table

    lake.create(Table("test/dated", schema={"on": "date"}))
    with pytest.raises(UserError, match="'on' is date, which is not counted"):
        count_distinct(lake, "test/dated", ["on"])


def test_an_expired_versions_sketches_go_with_it(home: Home, lake: Lake) -> None:
    versions(lake, 1)
    count_distinct(lake, REF, ["id"])
    (kept,) = lake.load(REF).metadata.statistics
    versions(lake, 3)
    assert distinct(lake, REF)
    expire(home)
    assert not Path(kept.statistics_path).exists()
    assert distinct(lake, REF) == {}
