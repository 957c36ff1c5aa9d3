"""Imports from files and from Feast: the text is a module of specs, which has the rows.

The dumps are what ``feast registry-dump`` of Feast 0.67 printed: `init.json` of the repository that
``feast init`` makes, `second.json` of one with a composite key, a mapped field, an object store, a
source in PostgreSQL and a view without entities (their ``infra`` is taken out).
"""

from __future__ import annotations

import importlib
import math
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import UserError
from bowerbird.core.functions import function_tree
from bowerbird.core.specs import Spec
from bowerbird.data.features.columns import Last
from bowerbird.data.features.compute import compute
from bowerbird.data.features.interop.feast import from_feast, translated
from bowerbird.data.features.interop.files import from_files, look, read_files
from bowerbird.data.features.interop.module import Imported, column_name, spec_name
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.lake import Table, identity
from bowerbird.lake.schema import spec_arrow_schema
from tests.data.real import real

DUMPS = Path(__file__).parent / "feast"
AT = pa.timestamp("us", tz="UTC")


def specs_of(made: Imported, folder: Path) -> dict[str, Spec]:
    """The specs of a module's text, by ref; each is checked."""
    module = ModuleType("imported")
    (folder / "imported.py").write_text(made.text)
    exec(compile(made.text, str(folder / "imported.py"), "exec"), vars(module))
    found = {str(spec.ref): spec for spec in vars(module).values() if isinstance(spec, Spec)}
    for spec in found.values():
        spec.check()
    assert set(found) == set(made.specs)
    return found


def rows_of(made: Imported, name: str) -> pa.Table:
    module = ModuleType("imported")
    exec(compile(made.text, "imported.py", "exec"), vars(module))
    return pa.Table.from_batches(vars(module)[f"read_{name}"]())


def formatted(text: str) -> None:
    """A module that a linter of unused names and syntax has nothing against."""
    ruff = Path(sys.executable).parent / "ruff"
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    words = [str(ruff), "check", "--isolated", "--select", "E9,F,I", "-"]
    ended = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


# -- files --------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Files of every kind that is read."""
    folder = tmp_path / "Shop export"
    folder.mkdir()
    (folder / "House holds.csv").write_text(
        "household_id,income level,joined,note\n"
        "1,low,2017-01-02 03:04:05,\n"
        "2,,2017-02-03 00:00:00,x\n"
    )
    (folder / "codes.tsv").write_text("code\tname\n1\ta\n")
    for day in ("2017-01-01", "2017-01-02"):
        part = folder / "purchases" / f"day={day}"
        part.mkdir(parents=True)
        pq.write_table(
            pa.table(
                {
                    "household_id": pa.array([1, 2], pa.int32()),
                    "spend": [1.5, None],
                    "at": pa.array(
                        [datetime(2017, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("ns", "UTC")
                    ),
                    "brand": pa.array(["a", "b"]).dictionary_encode(),
                    "where": pa.array([{"x": 1}, None]),
                }
            ),
            part / "part-0.parquet",
        )
    (folder / "README.md").write_text("no data")
    (folder / ".hidden.csv").write_text("a\n1\n")
    return folder


def test_a_folder_of_files_becomes_tables_that_have_their_rows(shop: Path) -> None:
    made = from_files(shop, "shop")
    found = specs_of(made, shop)
    assert list(made.specs) == [
        "table:shop/house_holds",
        "table:shop/codes",
        "table:shop/purchases",
    ]
    households, _, purchases = found.values()
    assert isinstance(households, Table)
    assert isinstance(purchases, Table)
    assert households.schema == {
        "household_id": "long",
        "income_level": "string",
        "joined": "timestamptz",
        "note": "string",
    }
    assert purchases.schema == {
        "household_id": "int",
        "spend": "double",
        "at": "timestamptz",
        "brand": "string",
        "day": "string",
    }
    assert purchases.partition == (identity("day"),)
    rows = rows_of(made, "house_holds")
    assert rows.schema.equals(spec_arrow_schema(households), check_metadata=False)
    assert rows.to_pylist()[1] == {
        "household_id": 2,
        "income_level": None,
        "joined": datetime(2017, 2, 3, tzinfo=UTC),
        "note": "x",
    }
    bought = rows_of(made, "purchases")
    assert bought.num_rows == 4
    assert set(bought["day"].to_pylist()) == {"2017-01-01", "2017-01-02"}


def test_what_could_not_be_said_is_noted(shop: Path) -> None:
    notes = "\n".join(from_files(shop, "shop").notes)
    assert "purchases: where is left out: no table has struct<x: int64>" in notes
    assert "house_holds: joined say no zone and are read as UTC" in notes


def test_the_module_is_clean_and_where_the_files_lie_is_no_part_of_its_meaning(
    shop: Path,
) -> None:
    made = from_files(shop, "shop")
    formatted(made.text)
    elsewhere = made.text.replace(str(shop.resolve()), "/elsewhere")
    assert elsewhere != made.text
    meanings = [meaning(text, shop / str(n)) for n, text in enumerate((made.text, elsewhere))]
    assert meanings[0] == meanings[1]


def meaning(text: str, folder: Path) -> object:
    folder.mkdir()
    (folder / "imported_here.py").write_text(text)
    sys.path.insert(0, str(folder))
    try:
        return function_tree("imported_here:read_purchases")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("imported_here", None)
        importlib.invalidate_caches()


def test_a_value_that_is_not_of_its_type_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("code\n" + "1\n" * 600_000 + "x\n")
    assert look(path).columns == {"code": "long"}
    with pytest.raises(UserError, match=r"codes\.csv") as raised:
        list(read_files(path, {"code": "long"}))
    assert "as string" in str(raised.value.fix)
    read = list(read_files(path, {"code": "string"}))
    assert sum(batch.num_rows for batch in read) == 600_001


def test_files_with_other_columns_are_read_together_or_refused(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    pq.write_table(pa.table({"a": pa.array([1], pa.int32())}), folder / "1.parquet")
    pq.write_table(pa.table({"a": [2], "b": ["x"]}), folder / "2.parquet")
    assert look(folder).columns == {"a": "long", "b": "string"}
    rows = pa.Table.from_batches(read_files(folder, {"a": "long", "b": "string"}))
    assert rows.to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    pq.write_table(pa.table({"a": ["text"]}), folder / "3.parquet")
    with pytest.raises(UserError, match="events"):
        look(folder)
    (folder / "4.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match="several kinds"):
        look(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "holds no file"),
        (lambda folder: folder.rmdir(), "is no folder"),
        (lambda folder: (folder / "a.parquet").write_text("no parquet"), "a.parquet"),
    ],
)
def test_a_folder_that_cannot_be_imported_says_why(tmp_path: Path, make: object, said: str) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    make(folder)  # type: ignore[operator]
    with pytest.raises(UserError, match=said):
        from_files(folder, "shop")


def test_a_file_that_is_gone_or_lacks_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(UserError, match="no column 'y'"):
        list(read_files(tmp_path / "a.csv", {"y": "long"}))
    with pytest.raises(UserError, match="no file is there"):
        list(read_files(tmp_path / "b.csv", {"x": "long"}))


@given(st.text(), st.text())
def test_names_are_names_whatever_the_file_is_called(name: str, column: str) -> None:
    Table(f"shop/{spec_name(name)}", schema={column_name(column): "long"}).check()


@pytest.mark.parametrize("name", ["cookie_cats"])
def test_real_files_are_imported_as_they_are(name: str, tmp_path: Path) -> None:
    folder = real(name)
    made = from_files(folder, "real")
    specs_of(made, tmp_path)
    (path,) = folder.glob("*.csv")
    assert rows_of(made, name).num_rows == pacsv.read_csv(path).num_rows


# -- Feast --------------------------------------------------------------------------------------


@pytest.fixture
def drivers(tmp_path: Path) -> Path:
    """The folder of ``feast init``, with a few rows of the types that it makes."""
    (tmp_path / "data").mkdir()
    hours = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 1, 2, 1)]
    pq.write_table(
        pa.table(
            {
                "event_timestamp": pa.array(hours, pa.timestamp("ns", "UTC")),
                "driver_id": [1001, 1001, 1001, 1002],
                "conv_rate": pa.array([0.1, 0.2, 0.3, 0.4], pa.float32()),
                "acc_rate": pa.array([0.5, None, 0.7, 0.8], pa.float32()),
                "avg_daily_trips": [1, 2, 3, 4],
                "created": pa.array(
                    [hour.replace(tzinfo=None) for hour in hours], pa.timestamp("us")
                ),
                "driver_metadata": [{"rating": "a"}] * 4,
                "driver_config": ["{}"] * 4,
                "driver_profile": [{"name": "a"}] * 4,
            }
        ),
        tmp_path / "data" / "driver_stats.parquet",
    )
    shutil.copy(DUMPS / "init.json", tmp_path / "registry.json")
    return tmp_path


def test_a_feature_view_becomes_a_group_over_its_sources_table(drivers: Path) -> None:
    made = from_feast(drivers / "registry.json", "rides")
    formatted(made.text)
    found = specs_of(made, drivers)
    group = found["feature_group:rides/driver_hourly_stats"]
    assert isinstance(group, FeatureGroup)
    assert group.source == "table:rides/driver_hourly_stats_source"
    assert (group.key, group.at, group.known_at) == (("driver_id",), "event_timestamp", "created")
    assert group.columns == {
        name: Last(name, over="1d")
        for name in ("conv_rate", "acc_rate", "avg_daily_trips", "driver_config")
    }
    assert group.tags == {"team": "driver_performance"}
    rows = rows_of(made, "driver_hourly_stats_source")
    assert rows.num_rows == 4
    assert rows.schema.field("event_timestamp").type == AT
    assert rows.schema.field("created").type == AT


def test_what_feast_has_and_we_have_not_is_listed_by_name(drivers: Path) -> None:
    notes = from_feast(drivers / "registry.json", "rides").notes
    for name, why in (
        ("transformed_conv_rate", "on-demand view"),
        ("transformed_conv_rate_fresh", "on-demand view"),
        ("driver_activity_v1", "service"),
        ("driver_activity_v3", "service"),
        ("driver_quality_labels", "label view"),
        ("driver_hourly_stats", "driver_metadata is left out"),
        ("driver_hourly_stats", "driver_profile is left out"),
        ("driver_hourly_stats_fresh", "what is pushed to it is left out"),
    ):
        assert any(note.startswith(f"{name}: ") and why in note for note in notes), (name, why)


def test_sources_that_cannot_be_read_from_here_keep_their_declared_types(tmp_path: Path) -> None:
    made = from_feast(DUMPS / "second.json", "shop", tmp_path)
    formatted(made.text)
    found = specs_of(made, tmp_path)
    both = found["feature_group:shop/both"]
    assert isinstance(both, FeatureGroup)
    assert both.key == ("household_id", "product_id")
    assert both.columns["spend"] == Last("spend", over="36h")
    assert both.columns["seen_at"] == Last("seen_at", over="36h")
    assert both.description == 'Says "so"'
    clicks = found["feature_group:shop/clicks"]
    assert isinstance(clicks, FeatureGroup)
    assert clicks.columns == {"n": Last("n")}
    mapped, remote = found["table:shop/purchases_2017"], found["table:shop/remote"]
    assert isinstance(mapped, Table)
    assert isinstance(remote, Table)
    assert mapped.schema["household_id"] == "long"
    assert '{"hh": "household_id", "seen at": "seen_at"}' in made.text.replace("\n", " ")
    assert remote.schema["raw"] == "binary"
    assert 'read_files("s3://bucket/clicks.parquet"' in made.text
    pg = found["table:shop/pg"]
    assert isinstance(pg, Table)
    assert not pg.source
    assert isinstance(found["feature_group:shop/class"], FeatureGroup)
    notes = "\n".join(made.notes)
    for said in (
        "global_stats: no entity",
        "pg: its source is no file",
        "remote: s3://bucket/clicks.parquet was not opened",
        "both: owned by ada@example.com",
        "both: last is left out: a feature of list<long>",
        "clicks: raw is left out: a feature of binary",
    ):
        assert said in notes


def test_a_mapped_field_is_read_under_its_new_name(tmp_path: Path) -> None:
    part = tmp_path / "purchases" / "day=1"
    part.mkdir(parents=True)
    pq.write_table(
        pa.table(
            {
                "hh": [1],
                "product_id": ["a"],
                "spend": [1.5],
                "seen at": pa.array([datetime(2017, 1, 1)], pa.timestamp("ns")),  # noqa: DTZ001
                "is_new": [True],
                "last": [[1]],
                "bought_at": pa.array([datetime(2017, 1, 1, tzinfo=UTC)], AT),
            }
        ),
        part / "0.parquet",
    )
    made = from_feast(DUMPS / "second.json", "shop", tmp_path)
    (row,) = rows_of(made, "purchases_2017").to_pylist()
    assert row["household_id"] == 1
    assert row["seen_at"] == datetime(2017, 1, 1, tzinfo=UTC)
    assert row["day"] == 1


@pytest.mark.parametrize(
    ("dumped", "said"),
    [
        (b"", "no registry of Feast"),
        (b"nothing", "no registry of Feast"),
        (b'{"featureViews": 3}', "no registry of Feast"),
        (b'{"project": "empty"}', "'empty' has no feature view"),
    ],
)
def test_what_is_no_dump_is_refused(dumped: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        translated(dumped, "shop", tmp_path)


def test_warnings_before_a_dump_are_passed_over(drivers: Path) -> None:
    dumped = b"some warning\n" + (DUMPS / "init.json").read_bytes()
    assert translated(dumped, "rides", drivers).specs


def test_a_repository_is_asked_through_feasts_own_program(
    drivers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    with pytest.raises(UserError, match=r"no feature_store\.yaml"):
        from_feast(drivers, "rides")
    (drivers / "feature_store.yaml").write_text("project: rides\n")
    with pytest.raises(UserError, match="Feast is not installed here") as raised:
        from_feast(drivers, "rides")
    assert "feast registry-dump > registry.json" in str(raised.value.fix)
    program = programs / "feast"
    program.write_text(f'#!/bin/sh\n[ "$3" = registry-dump ] && cat "{DUMPS}/init.json"\n')
    program.chmod(0o755)
    assert from_feast(drivers, "rides").specs
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    with pytest.raises(UserError, match="registry-dump failed: broken"):
        from_feast(drivers, "rides")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("feast") is None, reason="Feast is not installed here")
def test_a_repository_that_feast_makes_is_imported(tmp_path: Path) -> None:
    words = ["feast", "init", "rides"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "rides" / "feature_repo"
    subprocess.run(["feast", "apply"], cwd=folder, check=True, capture_output=True)
    made = from_feast(folder, "rides")
    specs_of(made, tmp_path)
    assert rows_of(made, "driver_hourly_stats_source").num_rows > 1000


HISTORY = """
import sys
from datetime import datetime, UTC

import pandas as pd
from feast import FeatureStore

asked = pd.read_parquet("asked.parquet")
names = ["conv_rate", "acc_rate", "avg_daily_trips"]
found = FeatureStore(".").get_historical_features(
    asked, [f"driver_hourly_stats:{name}" for name in names]
).to_df()
found.to_parquet("found.parquet")
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("feast") is None, reason="Feast is not installed here")
def test_an_imported_group_gives_what_feast_gives(tmp_path: Path) -> None:
    words = ["feast", "init", "rides"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "rides" / "feature_repo"
    subprocess.run(["feast", "apply"], cwd=folder, check=True, capture_output=True)
    stats = pq.read_table(folder / "data" / "driver_stats.parquet")
    times = stats["event_timestamp"].cast(AT, safe=False).to_pylist()
    drivers = stats["driver_id"].to_pylist()
    # Half an hour beside the rows' own times: at a time itself, Feast takes the row and we do not.
    asked = pa.table(
        {
            "driver_id": [*drivers[::20], 9, drivers[0]],
            "at": pa.array(
                [
                    *(at + timedelta(minutes=30) for at in times[::20]),
                    times[0],
                    max(times) + timedelta(days=3),
                ],
                AT,
            ),
        }
    )
    moments = asked["at"].cast(pa.timestamp("ns", "UTC"))
    pq.write_table(
        asked.rename_columns(["driver_id", "event_timestamp"])
        .set_column(1, "event_timestamp", moments)
        .append_column("row", pa.array(range(len(asked)))),
        folder / "asked.parquet",
    )
    python = str(Path(shutil.which("feast") or "").parent / "python")
    subprocess.run([python, "-c", HISTORY], cwd=folder, check=True, capture_output=True)
    # Feast 0.67 leaves out what is asked of a key whose rows are all older than the time to live.
    theirs = {row["row"]: row for row in pq.read_table(folder / "found.parquet").to_pylist()}

    made = from_feast(folder, "rides")
    group = specs_of(made, tmp_path)["feature_group:rides/driver_hourly_stats"]
    assert isinstance(group, FeatureGroup)
    rows = rows_of(made, "driver_hourly_stats_source")
    ours = compute(msgspec.structs.replace(group, known_at=""), rows, asked)
    for name in ("conv_rate", "acc_rate", "avg_daily_trips"):
        given = [theirs.get(row, {}).get(name) for row in range(len(asked))]
        wanted = [None if one is None or math.isnan(one) else one for one in given]
        assert ours[name].to_pylist() == pytest.approx(wanted)
    assert set(range(len(asked))) - set(theirs) <= {len(asked) - 1}
    assert ours["conv_rate"].null_count < len(asked) / 2
