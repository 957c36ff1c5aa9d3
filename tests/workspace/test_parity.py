"""One project, whatever it runs on: the same specs end in the same rows, releases and records."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.core.clock import SystemClock
from bowerbird.core.registry import Registry
from bowerbird.core.runs import RunState
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake, read
from bowerbird.rooms import registry
from bowerbird.workspace.database import Database
from bowerbird.workspace.new import make_project
from bowerbird.workspace.releases import open_log
from bowerbird.workspace.settings import Loaded, load_settings
from bowerbird.workspace.workspace import Workspace
from tests.crash.mottos import ROOM
from tests.crash.scenario import RELEASE, SPECS, TABLE

ROOT = Path(__file__).parent.parent.parent
EXPECTED = "abcdefghijklmnopqrstuvwxyz"


def carried_out(folder: Path, metadata: str, kind: EngineKind) -> Workspace:
    make_project(folder)
    (folder / "specs" / "tables.py").write_text(SPECS)
    Database(metadata, SystemClock(), migrate=True).close()

    def engine(loaded: Loaded) -> object:
        return open_engine(kind, workers=2, paths=(loaded.project, str(ROOT)))

    shop = Workspace(
        load_settings(folder, flags={"metadata": metadata}, variables={}),
        Registry([*registry().rooms, ROOM]),
        engine,  # type: ignore[arg-type]
    )
    run = shop.apply(shop.plan())
    assert run is not None
    assert run.state == RunState.DONE, run
    return shop


def check(shop: Workspace) -> None:
    rows = read(Lake(shop.home), TABLE).sort_by("id")
    assert "".join(rows["letter"].to_pylist()) == EXPECTED
    assert open_log(shop.home, RELEASE).pinned().files.path("motto.txt").read_text() == EXPECTED
    assert shop.plan().empty
    shop.close()
    shop.database.close()


@pytest.mark.parametrize("kind", [EngineKind.THREADS, EngineKind.PROCESSES])
@pytest.mark.slow
def test_the_same_on_either_database_and_local_engine(
    tmp_path: Path, metadata_url: str, kind: EngineKind
) -> None:
    check(carried_out(tmp_path / "shop", metadata_url, kind))


@pytest.mark.slow
def test_the_same_on_ray(tmp_path: Path, postgres_url: str) -> None:
    check(carried_out(tmp_path / "shop", postgres_url, EngineKind.RAY))
