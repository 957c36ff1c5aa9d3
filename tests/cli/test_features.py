"""``bowerbird features`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Project

SPEND = """
from bowerbird.lake import Table, identity

FACTOR = 1

def rows():
    import pyarrow as pa
    amount = [FACTOR * (1.0 + n % 50) for n in range(600)]
    return pa.table({"id": range(600), "day": ["a", "b"] * 300, "amount": amount,
                     "where": [{"x": n} for n in range(600)]})

spend = Table("shop/spend", schema={"id": "long", "day": "string", "amount": "double",
              "where": "struct<x:long>"}, partition=(identity("day"),), source=rows)
empty = Table("shop/empty", schema={"id": "long"})
"""


@pytest.mark.slow
def test_statistics_of_a_table_are_shown_written_and_compared(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    project.specs(tables_py=SPEND)
    assert project.run("apply").code == 0
    shown = project.run("features", "statistics", "shop/spend")
    assert "600 rows, 2 partitions" in shown.out
    assert "amount" in shown.out
    assert "where" not in shown.out  # a struct has no kind
    parts = project.run("features", "statistics", "shop/spend", "--parts", "--cell", "day=a")
    assert "day=a  300 rows" in parts.out
    assert "day=b" not in parts.out

    first = json.loads(project.run("features", "statistics", "shop/spend", "--json").out)
    assert [one["part"] for one in first["parts"]] == ["day=a", "day=b"]
    project.specs(tables_py=SPEND.replace("FACTOR = 1", "FACTOR = 100"))
    assert project.run("apply").code == 0
    words = ("--against", first["version"], "--column", "amount", "--page", "out", "--json")
    moved = json.loads(project.run("features", "statistics", "shop/spend", *words).out)
    (amount,) = moved["differences"]
    assert amount["drift"]["psi"] > 0.25
    assert moved["against"] == first["version"]
    assert json.loads((project.path / "out" / "statistics.json").read_text()) == moved
    assert (project.path / "out" / "statistics.html").is_file()

    for words, said in (
        (("shop/nothing",), "there is no table"),
        (("shop/empty",), "no row to look at"),
        (("shop/spend", "--against", "77"), "no version 77"),
        (("shop/spend", "--column", "amuont"), "amuont"),
    ):
        ended = project.run("features", "statistics", *words)
        assert (ended.code, "Traceback" in ended.err) == (2, False), ended.err
        assert said in ended.err


@pytest.mark.slow
def test_an_import_is_printed_written_and_refused(new_project: Callable[[], Project]) -> None:
    project = new_project()
    folder = project.path / "export"
    folder.mkdir()
    (folder / "homes.csv").write_text("id,name\n1,a\n")
    words = ("features", "import", "export", "--namespace", "shop")
    printed = project.run(*words)
    compile(printed.out, "printed", "exec")
    assert "reads anew" in printed.err
    kept = json.loads(project.run(*words, "--json").out)
    assert (kept["text"], kept["specs"]) == (printed.out, ["table:shop/homes"])
    assert "wrote specs/homes.py" in project.run(*words, "--to", "specs/homes.py").out
    assert Path(project.path / "specs" / "homes.py").read_text() == printed.out
    for more, said in (
        (("export", "--namespace", "shop", "--to", "specs/homes.py"), "is there already"),
        (("export", "--namespace", "Shop"), "is not a name"),
        (("nowhere", "--namespace", "shop"), "is no folder"),
        (("bowerbird.toml", "--namespace", "shop"), "no registry of Feast"),
    ):
        ended = project.run("features", "import", *more)
        assert (ended.code, "Traceback" in ended.err) == (2, False), ended.err
        assert said in ended.err
    assert project.run("apply").code == 0
    assert "1 rows" in project.run("features", "statistics", "shop/homes").out


STAGED = """
from bowerbird.data.features.columns import Count
from bowerbird.data.features.specs import Backfill, FeatureGroup
from bowerbird.lake import Table, day

def some():
    import pyarrow as pa
    at = pa.array([n * 43_200_000_000 for n in range(6)], pa.timestamp("us", "UTC"))
    return pa.table({"id": range(6), "user": [1, 2] * 3, "at": at})

visits = Table("shop/visits", schema={"id": "long", "user": "long", "at": "timestamptz"},
               partition=(day("at"),), source=some)
often = FeatureGroup("shop/often", source=visits, key=("user",), columns={"n": Count()})
staged = Backfill("shop/often", rows=visits, id=("id",), features=(often,), owner="team:growth")
"""


@pytest.mark.slow
def test_a_backfill_is_listed_shown_and_carried_out_alone(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    project.specs(tables_py=STAGED)
    assert project.run("apply").code == 0
    (listed,) = json.loads(project.run("features", "list", "--json").out)
    assert (listed["ref"], listed["cells"], listed["current"]) == ("backfill:shop/often", 3, 3)
    project.specs(tables_py=STAGED.replace("Count()", 'Count("1d")'))
    told = project.run("features", "list").out
    assert "0/3" in told
    assert "Count.over: (default) → 1d" in told
    made = json.loads(
        project.run("features", "backfill", "backfill:shop/often", "--dry-run", "--json").out
    )
    assert [len(step["cells"]) for step in made["steps"]] == [3]
    assert project.run("features", "backfill", "backfill:shop/often").code == 0
    assert project.run("plan").out.strip() == "nothing to do"
    shown = json.loads(project.run("features", "show", "feature_group:shop/often", "--json").out)
    assert shown["columns"] == {"n": "long"}
    assert shown["used_by"] == ["backfill:shop/often"]
    assert "count(*) FILTER (WHERE n IS NOT NULL" in shown["sql"]
    text = project.run("features", "show", "backfill:shop/often").out
    assert "beside: table:shop/visits" in text
    assert "staged" in text
    assert "live" not in text
    one = json.loads(project.run("features", "show", "backfill:shop/often", "--json").out)
    assert [part["standing"] for part in one["partitions"]] == ["current"] * 3
    assert len(one["commits"]) == 2
    for words, said in (
        (("show", "feature_group:shop/oftn"), "feature_group:shop/often?"),
        (("show", "table:shop/visits"), "is a Table, not a FeatureGroup"),
        (("backfill", "table:shop/visits"), "is a Table"),
    ):
        wrong = project.run("features", *words)
        assert wrong.code == 2
        assert said in wrong.err


@pytest.mark.slow
def test_times_are_shown_by_a_query(new_project: Callable[[], Project]) -> None:
    project = new_project()
    project.specs(tables_py=STAGED)
    assert project.run("apply").code == 0
    shown = project.run("table", "query", 'SELECT "at" FROM shop.visits ORDER BY "at" DESC')
    assert "1970-01-03 12:00:00" in shown.out
