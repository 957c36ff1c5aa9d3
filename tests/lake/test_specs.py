from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.core import codec
from bowerbird.core.errors import SpecError
from bowerbird.core.meaning import digest, tree_of
from bowerbird.lake import Bucket, Table, bucket, day, identity, month
from bowerbird.lake.schema import columns_of, iceberg_schema
from bowerbird.lake.types import PRIMITIVES, TypeTextError, parse

COLUMNS = {
    "id": "long not null",
    "at": "timestamptz",
    "price": "decimal(10,2)",
    "tags": "list<long>",
}


def table(**fields: object) -> Table:
    return Table("shop/sales", **{"schema": COLUMNS, **fields})  # type: ignore[arg-type]


def test_yaml_and_python_give_the_same_table() -> None:
    one = table(partition=[bucket("id", 16), day("at")], sort=["id", "at"], owner="team:growth")
    text = codec.write_yaml([one])
    assert list(codec.read_yaml(text, {"Table": Table}, "t.yaml")) == [one]


@pytest.mark.parametrize(
    ("fields", "where", "expected"),
    [
        ({"sort": ["idd"]}, "sort[0]", "id?"),
        ({"sort": ["tags"]}, "sort[0]", "a column of single values"),
        ({"sort": ["id", "id"]}, "sort[1]", "each column once"),
        ({"partition": [day("when")]}, "partition[0]", "one of: id, at, price, tags"),
        ({"partition": [bucket("id", 0)]}, "partition[0].n", "1 to 65536"),
        ({"partition": [bucket("id", 65537)]}, "partition[0].n", "1 to 65536"),
        ({"partition": [month("id")]}, "partition[0]", "another column"),
        ({"partition": [identity("id"), identity("id")]}, "partition[1]", "one of them"),
        ({"schema": {"id": "lnog"}}, "schema.id", "long?"),
        ({"schema": {"id": "int64"}}, "schema.id", "long?"),
        ({"schema": {"id": "timestamp"}}, "schema.id", "timestamptz"),
        ({"schema": {"id": "decimal(40,2)"}}, "schema.id", "1 to 38 digits in all"),
        ({"schema": {"a b": "long"}}, "schema", "no space and none of ./="),
        ({"schema": {}}, "schema", "at least one column"),
    ],
)
def test_a_contradiction_is_named_with_its_field(
    fields: dict[str, object], where: str, expected: str
) -> None:
    with pytest.raises(SpecError) as caught:
        table(**fields).check()
    assert caught.value.where == f"table:shop/sales: {where}"
    assert caught.value.expected == expected


def test_the_names_of_other_kinds_tables_are_not_taken() -> None:
    with pytest.raises(SpecError, match="marks the tables of other kinds"):
        Table("shop/sales__feature_group", schema=COLUMNS).check()


def test_who_owns_a_table_is_no_part_of_its_meaning() -> None:
    one, other = table(owner="team:a", description="x"), table(owner="team:b")
    assert digest(tree_of(one)) == digest(tree_of(other))
    assert digest(tree_of(one)) != digest(tree_of(table(partition=[Bucket("id", 4)])))


def types() -> st.SearchStrategy[str]:
    single = st.sampled_from([*PRIMITIVES, "decimal(9,3)", "fixed(4)"])
    return st.recursive(
        single,
        lambda inner: st.one_of(
            inner.map(lambda t: f"list<{t}>"),
            inner.map(lambda t: f"list<{t} not null>"),
            st.tuples(single, inner).map(lambda p: f"map<{p[0]},{p[1]}>"),
            st.lists(inner, min_size=1, max_size=3).map(
                lambda ts: f"struct<{','.join(f'f{i}:{t}' for i, t in enumerate(ts))}>"
            ),
        ),
        max_leaves=5,
    )


@settings(deadline=None)
@given(st.lists(types(), min_size=1, max_size=4), st.booleans())
def test_a_type_text_survives_the_way_to_iceberg_and_back(texts: list[str], hard: bool) -> None:
    columns = {f"c{i}": text + (" not null" if hard else "") for i, text in enumerate(texts)}
    schema = iceberg_schema({name: parse(text) for name, text in columns.items()})
    assert columns_of(schema) == columns


@given(st.text(alphabet="longdecimal(),<>:12 ", max_size=24))
def test_no_text_breaks_the_parser(text: str) -> None:
    with suppress(TypeTextError):
        parse(text)


def test_importing_the_lake_loads_no_heavy_library() -> None:
    code = (
        "import sys, bowerbird.lake, bowerbird.lake.steps;"
        "import bowerbird.lake.room, bowerbird.lake.views;"
        "heavy = {'pyiceberg', 'pyarrow', 'duckdb', 'numpy', 'sqlalchemy'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
