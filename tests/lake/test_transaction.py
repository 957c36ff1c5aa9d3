"""A transaction that computes less says what PyIceberg's says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import LongType

from bowerbird.lake import Lake
from bowerbird.lake.transaction import HouseTransaction
from bowerbird.testing.target_conformance import ONE, A
from tests.lake.world import PARTS, TableWorld, home_in, parts


@pytest.fixture(scope="module")
def table() -> Iterator[IcebergTable]:
    with TemporaryDirectory() as folder:
        world = TableWorld(home_in(folder))
        world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
        yield Lake(world.home).load(PARTS.ref)


def add_column(tx: Transaction, number: int) -> None:
    with tx.update_schema() as update:
        update.add_column(f"more{number}", LongType())


def set_property(tx: Transaction, number: int) -> None:
    tx.set_properties({"number": str(number)})


def append(tx: Transaction, number: int) -> None:
    rows = parts({A: [str(number)]})
    for field in tx.table_metadata.schema().fields[2:]:
        rows = rows.append_column(field.name, [[number]])
    tx.append(rows.cast(tx.table_metadata.schema().as_arrow()))


def look(tx: Transaction, number: int) -> None:
    """A look in between changes nothing."""
    assert tx.table_metadata is tx.table_metadata


def told(metadata: TableMetadata) -> TableMetadata:
    return metadata.model_copy(update={"last_updated_ms": 0})


@given(st.lists(st.sampled_from([add_column, set_property, append, look]), max_size=6))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_after_any_changes_the_table_will_be_what_pyiceberg_says(
    table: IcebergTable, changes: list[Callable[[Transaction, int], None]]
) -> None:
    tx = HouseTransaction(table)
    for number, change in enumerate(changes):
        change(tx, number)
        reference = Transaction(table)
        reference._updates = tx._updates
        assert told(tx.table_metadata) == told(reference.table_metadata)
