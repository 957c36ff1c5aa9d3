"""Catalogs and warehouses of other kinds than a laptop's: what goes wrong there is told by name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from bowerbird.core.errors import (
    BowerbirdError,
    CommitConflictError,
    PlanAgainError,
    SettingsError,
    UnavailableError,
)
from bowerbird.core.runs import RunState
from bowerbird.core.steps import Home
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake, duckdb, read
from bowerbird.rooms import registry
from bowerbird.testing.target_conformance import ONE, OTHER, A
from bowerbird.workspace.new import make_project
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace
from tests.lake.world import TableWorld, home_on_rest, home_on_s3, parts_of_its_own
from tests.seaweed import BUCKET, KEY, SECRET, Seaweed

pytestmark = pytest.mark.slow

WRONG = "a-secret-that-is-wrong"


@pytest.fixture
def rest(tmp_path: Path, seaweed_server: Seaweed) -> Home:
    return home_on_rest(seaweed_server, str(tmp_path))


@pytest.fixture
def s3(tmp_path: Path, seaweed_server: Seaweed) -> Home:
    return home_on_s3(seaweed_server, str(tmp_path))


def told(home: Home, kind: type[BowerbirdError]) -> str:
    """What opening and writing there says."""
    with pytest.raises(kind) as caught:
        Lake(home).create(parts_of_its_own())
    return str(caught.value)


def with_access(home: Home, **fields: str) -> Home:
    return replace(home, access=replace(home.access, **fields))


def test_a_catalog_that_refuses_our_credential_is_a_setting_that_is_wrong(rest: Home) -> None:
    for credential in ("", f"{KEY}:{WRONG}", WRONG):
        said = told(with_access(rest, iceberg_credential=credential), SettingsError)
        assert "iceberg_credential" in said
        assert WRONG not in said


def test_a_catalog_that_is_not_there_may_be_later(rest: Home) -> None:
    # The discard port: nobody listens.
    assert "the catalog" in told(replace(rest, iceberg="rest:http://127.0.0.1:9"), UnavailableError)


@pytest.mark.parametrize("text", ["http://127.0.0.1:9", "rest:", "rest:ftp://x", "sql:x"])
def test_what_is_no_catalog_is_a_setting_that_is_wrong(rest: Home, text: str) -> None:
    assert "rest:http://host:port" in told(replace(rest, iceberg=text), SettingsError)


def test_an_object_store_that_refuses_our_key_is_a_setting_that_is_wrong(s3: Home) -> None:
    for fields in ({"s3_secret_key": WRONG}, {"s3_access_key": "nobody"}):
        said = told(with_access(s3, **fields), SettingsError)
        assert "s3_secret_key" in said
        assert WRONG not in said
        assert SECRET not in said


def test_an_object_store_that_is_not_there_may_be_later_and_is_not_waited_for_long(
    s3: Home,
) -> None:
    start = time.monotonic()
    told(with_access(s3, s3_endpoint="http://127.0.0.1:9"), UnavailableError)
    assert time.monotonic() - start < 30


def test_files_of_a_place_that_we_do_not_know_are_refused_by_name(s3: Home) -> None:
    lake = Lake(replace(s3, warehouse="gopher://x/y"))
    with pytest.raises(SettingsError, match="gopher"):
        lake.files.exists("gopher://x/y/z")


def test_a_rest_catalogs_table_that_was_changed_is_not_dropped(rest: Home) -> None:
    world = TableWorld(rest, parts_of_its_own())
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    head = world.target().read().version
    seen = world.lake.load(world.spec.ref)
    world.foreign(A, "theirs")
    with pytest.raises(PlanAgainError):
        world.lake.drop(world.spec.ref, head=head)
    assert not world.lake.catalog.forget(seen)
    assert len(world.rows()) == 2


def test_a_dropped_table_of_a_rest_catalog_leaves_no_file(rest: Home) -> None:
    world = TableWorld(rest, parts_of_its_own())
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    location = world.lake.location(world.spec.ref)
    assert world.lake.files.under(location)
    assert world.lake.drop(world.spec.ref)
    assert world.lake.files.under(location) == []
    assert not world.lake.exists(world.spec.ref)
    assert not world.lake.drop(world.spec.ref)


def test_a_commit_to_a_table_that_is_gone_is_a_conflict(rest: Home) -> None:
    world = TableWorld(rest, parts_of_its_own())
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    log = world.log()
    onto = log.load()
    change = world.change(OTHER, "a1", {A: ["late"]})
    world.lake.drop(world.spec.ref)
    with pytest.raises(CommitConflictError):
        log.append(onto, OTHER, change)


def test_files_on_an_object_store_are_named_swept_and_deleted_by_their_urls(s3: Home) -> None:
    world = TableWorld(s3)
    target = world.target()
    target.commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    world.change(ONE, "a2", {A: ["lost"]})
    files = world.lake.files
    lost = files.under(target.files(ONE, "a2"))
    assert [one.startswith(f"s3://{BUCKET}/") for one in lost] == [True]
    target.sweep(ONE, "a1")
    assert not files.exists(lost[0])
    files.delete(lost)
    assert world.rows() == ["x"]


def test_duckdb_reads_what_lies_on_an_object_store(s3: Home) -> None:
    world = TableWorld(s3)
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x", "y"]}))
    rows = duckdb(world.lake, {"p": (world.spec.ref, None)}).sql("select name from p order by 1")
    assert rows.fetchall() == [("x",), ("y",)]


SPECS = """
import pyarrow as pa
from bowerbird.lake import Table, bucket

def numbers():
    return pa.table({"id": pa.array(range(100), pa.int64())})

one = Table("NAMESPACE/numbers", schema={"id": "long not null"}, partition=(bucket("id", 4),),
            sort=("id",), source=numbers)
"""


def test_a_project_lives_on_a_rest_catalog_and_an_object_store(
    tmp_path: Path, rest: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = parts_of_its_own().ref.namespace
    make_project(tmp_path)
    (tmp_path / "specs" / "numbers.py").write_text(SPECS.replace("NAMESPACE", namespace))
    monkeypatch.setenv("S3_SECRET", SECRET)
    monkeypatch.setenv("CATALOG_SECRET", f"{KEY}:{SECRET}")
    flags = {
        "warehouse": rest.warehouse,
        "iceberg_catalog": rest.iceberg,
        "iceberg_credential": "${env:CATALOG_SECRET}",
        "s3_endpoint": rest.access.s3_endpoint,
        "s3_region": "us-east-1",
        "s3_access_key": KEY,
        "s3_secret_key": "${env:S3_SECRET}",
    }
    shop = Workspace(
        load_settings(tmp_path, flags=flags, variables={}),
        registry(),
        lambda loaded: open_engine(EngineKind.PROCESSES, workers=2, paths=(loaded.project,)),
    )
    try:
        run = shop.apply(shop.plan())
    finally:
        shop.close()
    assert run is not None
    assert run.state == RunState.DONE
    assert read(Lake(shop.home), f"{namespace}/numbers").num_rows == 100
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
