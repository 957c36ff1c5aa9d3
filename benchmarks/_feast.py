"""Feast as a contender, in an environment of its own: BOWERBIRD_FEAST_PYTHON names its Python.

This file is also what runs there: it imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

VARIABLE = "BOWERBIRD_FEAST_PYTHON"


class Join(NamedTuple):
    """rows: files of the rows. groups: number -> files of a group's values."""

    rows: list[str]
    groups: dict[int, list[str]]


class Frame(NamedTuple):
    """files: of computed values (user_id, at, features). moment: microseconds."""

    files: list[str]
    features: list[str]
    moment: int


def python() -> str:
    return os.environ.get(VARIABLE, "")


def run(kind: str, asked: Any, folder: str) -> dict[str, Any] | None:
    """One contender; None where there is no Feast, `error` where it failed."""
    if not python():
        return None
    place = Path(folder, "feast.json")
    place.write_text(json.dumps(asked._asdict()))
    ran = subprocess.run(
        [python(), str(Path(__file__).resolve()), kind, str(place)],
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
        env={**os.environ, "FEAST_USAGE": "False"},
    )
    if ran.returncode:
        said = (ran.stderr.strip() or f"ended with {ran.returncode}").splitlines()[-1]
        return {"error": said[:160]}
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


# -- in Feast's environment ------------------------------------------------------------------------


def _store(folder: Path) -> Any:
    from feast import FeatureStore, RepoConfig

    return FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )


def _view(folder: Path, entity: Any, name: str, listed: list[str], at: str, fields: Any) -> Any:
    """A feature view over one file: Feast's file source takes a path, not a list."""
    from datetime import timedelta

    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
    from feast import FeatureView, Field, FileSource

    path = folder / f"{name}.parquet"
    pq.write_table(ds.dataset(listed).to_table(), path)
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=timedelta(days=3650),
        schema=[Field(name=field, dtype=kind) for field, kind in fields.items()],
        source=FileSource(name=f"of_{name}", path=str(path), timestamp_field=at),
    )


def _user() -> Any:
    from feast import Entity, ValueType

    return Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)


def _join(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    import pyarrow.dataset as ds
    from feast.types import Float64, Int64

    store, user = _store(folder), _user()
    groups = {int(n): listed for n, listed in asked["groups"].items()}
    views = [
        _view(folder, user, f"g{n}", listed, f"since{n}", {f"a{n}": Float64, f"b{n}": Int64})
        for n, listed in groups.items()
    ]
    store.apply([user, *views])
    clock = _Clock()
    rows = ds.dataset(asked["rows"]).to_table().to_pandas()
    rows = rows.rename(columns={"at": "event_timestamp"})
    features = [f"g{n}:{name}{n}" for n in groups for name in "ab"]
    found = store.get_historical_features(entity_df=rows, features=features).to_arrow()
    return clock.told(found, [f"a{n}" for n in groups])


def _frame(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    import pandas as pd
    import pyarrow.dataset as ds
    from feast.types import Int64

    store, user = _store(folder), _user()
    fields = dict.fromkeys(asked["features"], Int64)
    store.apply([user, _view(folder, user, "spend", asked["files"], "at", fields)])
    clock = _Clock()
    rows = ds.dataset(asked["files"]).to_table(columns=["user_id"]).to_pandas()
    rows["event_timestamp"] = pd.Timestamp(asked["moment"], unit="us", tz="UTC")
    features = [f"spend:{name}" for name in fields]
    found = store.get_historical_features(entity_df=rows, features=features).to_arrow()
    return clock.told(found, list(fields))


class _Clock:
    """Seconds, CPU seconds and memory from here on."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self.base = _status("VmRSS")
        self.cpu, self.start = time.process_time(), time.perf_counter()

    def told(self, found: Any, checked: list[str]) -> dict[str, Any]:
        return {
            "seconds": time.perf_counter() - self.start,
            "cpu": time.process_time() - self.cpu,
            "peak": _status("VmHWM"),
            "base": self.base,
            "rows": found.num_rows,
            "check": sum(float(found[name].to_pandas().sum()) for name in checked),
        }


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    place = Path(sys.argv[2])
    print(
        json.dumps(
            {"join": _join, "frame": _frame}[sys.argv[1]](
                json.loads(place.read_text()), place.parent
            )
        )
    )
