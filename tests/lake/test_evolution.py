"""Columns and layout that change: every row is read back, in the columns that there are by now."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import SpecError, UserError
from bowerbird.core.meaning import digest
from bowerbird.core.targets import SHAPE, WHOLE, Change, LogTarget, Token
from bowerbird.lake import (
    Lake,
    Table,
    TableLog,
    Written,
    bucket,
    identity,
    read,
    read_batches,
    steps,
    truncate,
    write,
)
from bowerbird.lake.columns import EditKind
from bowerbird.lake.evolve import plan_evolution
from bowerbird.lake.schema import columns_of, spec_arrow_schema
from bowerbird.lake.specs import Transform
from tests.lake.world import home_in

PARTITIONS: list[tuple[Transform, ...]] = [
    (),
    (bucket("id", 2),),
    (bucket("id", 4),),
    (truncate("id", 10), bucket("id", 2)),
    (identity("id"),),
]


class Field(msgspec.Struct):
    """One column of the model: `number` is what it is, `name` what it is called now."""

    number: int
    name: str
    kind: str
    inner: list[Field] = []

    def text(self) -> str:
        fields = ",".join(f"{one.name}:{one.text()}" for one in self.inner)
        return {
            "struct": f"struct<{fields}>",
            "list": f"list<struct<{fields}>>",
            "map": f"map<string,struct<{fields}>>",
        }.get(self.kind, self.kind)

    def make(self, seed: int) -> Any:
        """A value, by the numbers of the columns inside."""
        if seed % 5 == 4:
            return None
        if not self.inner:
            return f"text {seed}" if self.kind == "string" else seed
        row = {one.number: one.make(seed + at) for at, one in enumerate(self.inner)}
        return {"struct": row, "list": [row] * (seed % 3), "map": {"k": row}}[self.kind]

    def show(self, value: Any) -> Any:
        """The same value under the present names."""
        if value is None or not self.inner:
            return value
        if self.kind == "struct":
            return {one.name: one.show(value.get(one.number)) for one in self.inner}
        rows = value if self.kind == "list" else value.values()
        shown = [{one.name: one.show(row.get(one.number)) for one in self.inner} for row in rows]
        return shown if self.kind == "list" else list(zip(value, shown, strict=True))


class Model:
    """What the table is to hold, and the spec that says so."""

    def __init__(self) -> None:
        self.count = 0
        inner = [self.field("x", "int"), self.field("y", "string")]
        self.fields = [
            self.field("id", "long"),
            self.field("n", "int"),
            *(
                self.field(
                    kind[0],
                    kind,
                    inner=msgspec.json.decode(msgspec.json.encode(inner), type=list[Field]),
                )
                for kind in ("struct", "list", "map")
            ),
        ]
        self.rows: list[dict[int, Any]] = []
        self.partition: tuple[Transform, ...] = ()
        self.sort: tuple[str, ...] = ()
        self.renamed: dict[str, str] = {}
        self.dropped: tuple[str, ...] = ()

    def field(self, name: str, kind: str, inner: list[Field] | None = None) -> Field:
        self.count += 1
        return Field(self.count, name, kind, inner or [])

    def spec(self) -> Table:
        return Table(
            "test/model",
            schema={one.name: one.text() for one in self.fields},
            partition=self.partition,
            sort=self.sort,
            renamed=self.renamed,
            dropped=self.dropped,
        )

    def change(self, data: st.DataObject) -> None:
        self.renamed, self.dropped = {}, ()
        what = data.draw(st.sampled_from(["add", "drop", "rename", "widen", "move", "layout"]))
        nests = [one for one in self.fields if one.inner]
        nest = data.draw(st.sampled_from([None, *nests]))
        fields = self.fields if nest is None else nest.inner
        middle = {"list": ".element", "map": ".value"}.get(nest.kind, "") if nest else ""
        path = f"{nest.name}{middle}." if nest else ""
        free = [one for one in fields if one.name != "id"]
        if what == "layout":
            self.partition = data.draw(st.sampled_from(PARTITIONS))
            self.sort = data.draw(st.sampled_from([(), ("id",)]))
        elif what == "add":
            kind = data.draw(st.sampled_from(["int", "string"]))
            fields.insert(
                data.draw(st.integers(0, len(fields))), self.field(f"c{self.count}", kind)
            )
        elif what == "move":
            fields[:] = data.draw(st.permutations(fields))
        elif len(free) > 1:
            one = data.draw(st.sampled_from(free))
            if what == "drop":
                fields.remove(one)
                self.dropped = (path + one.name,)
            elif what == "rename":
                new = f"r{self.count}"
                self.count += 1
                self.renamed = {path + one.name: new}
                one.name = new
            elif one.kind == "int":
                one.kind = "long"

    def add_rows(self, seed: int) -> pa.Table:
        made = [{one.number: one.make(seed * 7 + at) for one in self.fields} for at in range(4)]
        self.rows += made
        return pa.Table.from_pylist(self.shown(made), spec_arrow_schema(self.spec()))

    def shown(self, rows: list[dict[int, Any]]) -> list[dict[str, Any]]:
        return [{one.name: one.show(row.get(one.number)) for one in self.fields} for row in rows]


def append(lake: Lake, spec: Table, rows: pa.Table, token: str) -> None:
    log = TableLog(lake, spec.ref)
    written = write(lake, spec, rows, log.files(Token(token), "a1"))
    target = LogTarget(log, SystemClock())
    target.commit(Token(token), target.read().version, Change("a1", payload=written))


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_old_and_new_files_are_read_in_the_present_columns(data: st.DataObject) -> None:
    model = Model()
    with TemporaryDirectory() as folder:
        lake = Lake(home_in(folder))
        for step in range(4):
            if step:
                model.change(data)
            spec = model.spec()
            spec.check()
            append(lake, spec, model.add_rows(step), f"r/s{step}")
            wanted = sorted(map(repr, model.shown(model.rows)))
            assert columns_of(lake.load(spec.ref).schema()) == spec.schema
            for found in (read(lake, spec.ref), read_batches(lake, spec.ref).read_all()):
                assert found.column_names == list(spec.schema)
                assert sorted(map(repr, found.to_pylist())) == wanted
            some = read(lake, spec.ref, where={"id": (0, 9)})
            inside = [row for row in model.shown(model.rows) if row["id"] in range(9)]
            assert sorted(map(repr, some.to_pylist())) == sorted(map(repr, inside))
        assert plan_evolution(lake, model.spec()).empty


SALES = Table(
    "test/sales",
    schema={"id": "long", "price": "int", "note": "string", "at": "struct<x:int,y:int>"},
    partition=[bucket("id", 2)],
    sort=["id"],
)


def sold(lake: Lake, spec: Table = SALES, token: str = "r/s1") -> None:
    rows = [dict.fromkeys(spec.schema) | {"id": n} for n in range(20)]
    append(lake, spec, pa.Table.from_pylist(rows, spec_arrow_schema(spec)), token)


def shape(lake: Lake, spec: Table, token: str = "r/s2") -> None:
    target = LogTarget(TableLog(lake, spec.ref), SystemClock())
    change = Change("a1", makes={SHAPE: "m"}, payload=Written(spec=spec))
    target.commit(Token(token), target.read().version, change)


def test_a_plan_tells_each_edit_and_what_stays_in_the_older_layout(lake: Lake) -> None:
    sold(lake)
    spec = replace(
        SALES,
        schema={"note": "string", "id": "long", "cost": "long", "at": "struct<x:int>", "z": "int"},
        partition=(bucket("id", 8),),
        sort=("note",),
        renamed={"price": "cost"},
        dropped=("at.y",),
    )
    shown = plan_evolution(lake, spec)
    assert {(edit.kind, edit.column) for edit in shown.edits} == {
        (EditKind.MOVE, "id"),
        (EditKind.MOVE, "cost"),
        (EditKind.RENAME, "cost"),
        (EditKind.WIDEN, "cost"),
        (EditKind.DROP, "at.y"),
        (EditKind.ADD, "z"),
    }
    assert shown.partition == ("bucket[2](id)", "bucket[8](id)")
    assert shown.sort == ("id", "note")
    assert (shown.older_files, shown.older_rows, shown.refused) == (2, 20, ())
    assert shown.older_bytes > 0
    shape(lake, spec)
    assert plan_evolution(lake, spec).empty
    assert read(lake, SALES.ref).num_rows == 20


def test_every_refusal_is_told_at_once_and_nothing_is_done(lake: Lake) -> None:
    sold(lake)
    spec = replace(SALES, schema={"id": "string", "note": "string", "at": "struct<x:string>"})
    shown = plan_evolution(lake, spec)
    problems = " | ".join(one.problem for one in shown.refused)
    for part in ("'price' is in the table", "'at.y' is in the table", "'id' is long", "'at.x'"):
        assert part in problems
    with pytest.raises(SpecError, match="'price' is in the table and not in its spec"):
        shape(lake, spec)
    assert columns_of(lake.load(SALES.ref).schema()) == SALES.schema


def test_a_dropped_column_that_comes_back_has_none_of_its_old_values(lake: Lake) -> None:
    spec = Table("test/back", schema={"id": "long", "x": "int"})
    append(lake, spec, pa.table({"id": [1], "x": pa.array([7], pa.int32())}), "r/s1")
    shape(lake, replace(spec, schema={"id": "long"}, dropped=("x",)))
    shape(lake, spec, "r/s3")
    assert read(lake, spec.ref).to_pylist() == [{"id": 1, "x": None}]


def test_a_rename_is_done_once_and_may_stay_in_the_spec(lake: Lake) -> None:
    sold(lake)
    schema = {"id": "long", "cost": "int", "note": "string", "at": "struct<x:int,y:int>"}
    spec = replace(SALES, schema=schema, renamed={"price": "cost"})
    shape(lake, spec)
    assert plan_evolution(lake, spec).empty
    assert plan_evolution(lake, replace(spec, renamed={})).empty


def test_how_a_table_came_to_its_columns_is_no_part_of_its_meaning() -> None:
    said = replace(SALES, renamed={"cost": "price"}, dropped=("old",))
    one, other = (steps.wants(spec, {})[0].definition for spec in (SALES, said))
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"renamed": {"price": "cost"}}, "renamed"),
        ({"renamed": {"cost": "prize"}}, "renamed"),
        ({"dropped": ("at.x",)}, "dropped"),
    ],
)
def test_a_rename_or_drop_that_the_schema_contradicts_is_refused(
    fields: dict[str, Any], where: str
) -> None:
    with pytest.raises(SpecError) as caught:
        replace(SALES, **fields).check()
    assert caught.value.where == f"table:test/sales: {where}"


def test_a_cell_means_one_thing_also_after_the_bucket_count_changed(lake: Lake) -> None:
    sold(lake)
    spec = replace(SALES, partition=(bucket("id", 8),))
    sold(lake, spec, "r/s2")
    cells = TableLog(lake, SALES.ref).load().cells()
    fields = {cell.partition("=")[0] for cell in cells}
    assert fields == {"id_bucket", "id_bucket_8"}
    with pytest.raises(UserError, match="may hold rows of cell"):
        read(lake, SALES.ref, cells=["id_bucket_8=3"])
    back = replace(SALES, partition=(bucket("id", 2),))
    shape(lake, back, "r/s3")
    assert [field.name for field in lake.load(SALES.ref).spec().fields] == ["id_bucket"]


def test_an_overwrite_of_a_new_partition_never_touches_old_files_that_hold_others(
    lake: Lake,
) -> None:
    sold(lake)
    spec = replace(SALES, partition=(bucket("id", 8),))
    log = TableLog(lake, SALES.ref)
    rows = read(lake, SALES.ref).slice(0, 1)
    written = write(lake, spec, rows, log.files(Token("r/s2"), "a1"))
    from bowerbird.lake.overwrite import overwrite_partitions

    change = overwrite_partitions(lake, written, "a1", "m")
    target = LogTarget(log, SystemClock())
    with pytest.raises(UserError, match="may hold rows of cell"):
        target.commit(Token("r/s2"), target.read().version, change)
    whole = msgspec.structs.replace(change, overwrites=(WHOLE,))
    target.commit(Token("r/s2"), target.read().version, whole)
    assert read(lake, SALES.ref).num_rows == 1


def test_a_column_that_kept_files_are_split_by_is_not_dropped(lake: Lake) -> None:
    spec = Table("test/split", schema={"a": "long", "b": "long"}, partition=[identity("a")])
    append(lake, spec, pa.table({"a": [1, 2], "b": [3, 4]}), "r/s1")
    bare = replace(spec, schema={"b": "long"}, partition=(), dropped=("a",))
    (refusal,) = plan_evolution(lake, bare).refused
    assert "whose column is to be dropped" in refusal.problem
    log = TableLog(lake, spec.ref)
    target = LogTarget(log, SystemClock())
    flat = replace(spec, partition=())
    written = write(lake, flat, read(lake, spec.ref), log.files(Token("r/s2"), "a1"))
    change = Change("a1", makes={WHOLE: "m"}, overwrites=(WHOLE,), payload=written)
    target.commit(Token("r/s2"), target.read().version, change)
    table = lake.load(spec.ref)
    old = [one.snapshot_id for one in table.metadata.snapshots][:-1]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    # The snapshot that took the old files out still names their partitions.
    append(lake, flat, pa.table({"a": [5], "b": [6]}), "r/s3")
    table = lake.load(spec.ref)
    table.maintenance.expire_snapshots().by_ids([table.metadata.snapshots[0].snapshot_id]).commit()
    shape(lake, bare, "r/s4")
    assert sorted(read(lake, spec.ref).column("b").to_pylist()) == [3, 4, 6]
