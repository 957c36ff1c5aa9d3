"""The ledgers pass the suite: the plain one in memory, and the database's on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bowerbird.core.errors import (
    BowerbirdError,
    CorruptError,
    NewerWorkspaceError,
    RunInProgressError,
    StorageError,
    UnavailableError,
    WorkspaceError,
)
from bowerbird.core.runs import Done, Failed, Ledger, RunState
from bowerbird.testing.ledger_conformance import PLAN, Hand, LedgerConformance
from bowerbird.testing.memory import MemoryLedger
from bowerbird.workspace import migrations
from bowerbird.workspace.database import Database
from bowerbird.workspace.ledger import FEW, SqlLedger
from bowerbird.workspace.schema import MEANINGS, VERSION
from tests.postgres import postgres


@pytest.fixture
def clock() -> Hand:
    return Hand()


class TestMemory(LedgerConformance):
    @pytest.fixture
    def ledger(self, clock: Hand) -> Ledger:
        return MemoryLedger(clock)


class TestSqlite(LedgerConformance):
    @pytest.fixture
    def ledger(self, clock: Hand, tmp_path: Path) -> Iterator[Ledger]:
        database = Database(f"sqlite:///{tmp_path / 'metadata.db'}", clock)
        yield SqlLedger(database)
        database.close()


@pytest.mark.slow
class TestPostgres(LedgerConformance):
    def pass_time(self, clock: Hand, seconds: float) -> None:
        time.sleep(seconds)  # leases use the server's clock

    @pytest.fixture
    def ledger(self, clock: Hand, postgres_url: str) -> Iterator[Ledger]:
        database = Database(postgres_url, clock, migrate=True)
        yield SqlLedger(database)
        database.close()


def both_at_once(calls: list[object]) -> list[object]:
    """Call all at the same moment; what each returned or raised."""
    results: list[object] = [None] * len(calls)
    ready = threading.Barrier(len(calls))

    def run(index: int) -> None:
        ready.wait()
        try:
            results[index] = calls[index]()  # type: ignore[operator]
        except BowerbirdError as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_eight_that_start_at_once_one_does(metadata_url: str) -> None:
    databases = [Database(metadata_url, Hand(), migrate=True) for _ in range(8)]
    found = both_at_once([lambda db=db: SqlLedger(db).start(PLAN, "user:ada") for db in databases])
    refused = [one for one in found if isinstance(one, RunInProgressError)]
    assert len(refused) == 7
    for database in databases:
        database.close()


def test_of_eight_that_begin_a_step_at_once_one_does(metadata_url: str) -> None:
    databases = [Database(metadata_url, Hand(), migrate=True) for _ in range(8)]
    run = SqlLedger(databases[0]).start(PLAN, "user:ada")
    found = both_at_once(
        [
            lambda db=db, n=n: SqlLedger(db).begin(run.id, "s1", f"holder{n}", 30)
            for n, db in enumerate(databases)
        ]
    )
    assert sum(lease is not None for lease in found) == 1
    for database in databases:
        database.close()


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'metadata.db'}"
    database = Database(url, Hand())
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(NewerWorkspaceError, match="9999"):
        Database(url, Hand())


def test_the_version_that_a_database_is_held_to_is_the_newest_migration() -> None:
    from alembic.script import ScriptDirectory

    folder = str(Path(migrations.__file__).parent)
    assert ScriptDirectory(folder).get_current_head() == VERSION


@pytest.mark.slow
def test_postgres_is_migrated_on_purpose_only(postgres_url: str) -> None:
    with pytest.raises(WorkspaceError, match="migrate"):
        Database(postgres_url, Hand())
    Database(postgres_url, Hand(), migrate=True).close()
    Database(postgres_url, Hand()).close()


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(CorruptError, match="not a database"):
        Database(f"sqlite:///{path}", Hand())


def test_a_read_only_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    Database(f"sqlite:///{path}", Hand()).close()
    database = Database(f"sqlite:///file:{path}?mode=ro&uri=true", Hand(), migrate=False)
    with pytest.raises(StorageError, match="readonly"):
        SqlLedger(database).start(PLAN, "user:ada")
    database.close()


@pytest.mark.slow
def test_a_database_that_goes_away_is_unavailable_and_then_back() -> None:
    with postgres() as server:
        database = Database(server.create("away"), Hand(), migrate=True)
        ledger = SqlLedger(database)
        run = ledger.start(PLAN, "user:ada")
        server.stop()
        with pytest.raises(UnavailableError, match="does not answer"):
            ledger.begin(run.id, "s1", "A", 30)
        server.start()
        assert ledger.begin(run.id, "s1", "A", 30) is not None
        database.close()


def test_meanings_are_read_as_they_are_asked_for_and_at_once_where_many_are(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'metadata.db'}", Hand())
    rows = [{"hash": f"h{n}", "tree": f'{{"n": {n}}}'} for n in range(FEW * 3)]
    with database.write() as connection:
        connection.execute(sa.insert(MEANINGS), rows)
    few, many = SqlLedger(database).meanings(), SqlLedger(database).meanings()
    assert few["h3"] == {"n": 3}
    assert few.get("nobody") is None
    assert [many[row["hash"]] for row in rows] == [{"n": n} for n in range(FEW * 3)]
    assert "nobody" not in many
    assert dict(few) == dict(many)
    assert len(few) == FEW * 3
    database.close()


def test_a_failure_is_remembered_until_a_newer_run_of_its_target(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'metadata.db'}", Hand())
    ledger = SqlLedger(database)
    target, kinds = PLAN.step("s1").target, [PLAN.step("s1").kind]
    for ends in (Failed("no", "StepError"), Done("v1", "m")):
        run = ledger.start(PLAN, "user:ada")
        assert ledger.failures(kinds) == {}
        lease = ledger.begin(run.id, "s1", "A", 30)
        assert lease is not None
        ledger.finish(lease, ends)
        failures = {ref: (of, step.error) for ref, (of, step) in ledger.failures(kinds).items()}
        assert failures == ({target: (run.id, "no")} if isinstance(ends, Failed) else {})
        assert ledger.failures(["another"]) == {}
        ledger.end(run.id, RunState.FAILED)
    database.close()
