"""What can happen to a project: dropped specs, damage, full disks, two at once, strangers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bowerbird.core.steps import Home
from bowerbird.lake import Lake, read
from bowerbird.workspace.settings import load_settings
from tests.cli.conftest import LETTERS, TABLE, Ended, Project, environment
from tests.cli.test_bad_input import told
from tests.postgres import postgres

POOL = "ARROW_DEFAULT_MEMORY_POOL"

SLOW = LETTERS.replace(
    "def rows():",
    """def rows():
    import pathlib, time
    pathlib.Path("started").touch()
    end = time.monotonic() + 60
    while not pathlib.Path("go").exists() and time.monotonic() < end:
        time.sleep(0.05)
""",
)


def home(project: Project) -> Home:
    return load_settings(project.path, variables={}).home()


def ids(project: Project) -> list[int]:
    return sorted(read(Lake(home(project)), TABLE).column("id").to_pylist())


def until(true: Callable[[], bool], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def done(ended: Ended) -> None:
    assert ended.code == 0, ended.err + ended.out


@pytest.fixture
def made(new_project: Callable[[], Project]) -> Project:
    """A project of its own, with one table made."""
    project = new_project()
    project.specs(tables_py=LETTERS)
    done(project.run("apply"))
    return project


# -- specs that go away ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_data_of_a_spec_that_was_renamed_stays_until_it_is_dropped(made: Project) -> None:
    made.specs(tables_py=LETTERS.replace("shop/letters", "shop/signs"))
    shown = made.run("plan").out
    assert f"{TABLE}: no spec declares it any more; it is kept" in shown
    assert f"try: bowerbird apply --drop {TABLE}" in shown
    assert "table:shop/signs  missing" in shown
    done(made.run("apply"))
    assert ids(made) == [0, 1, 2]
    done(made.run("apply", "--drop", TABLE))
    assert not Lake(home(made)).exists(TABLE)
    assert made.run("plan").out == "nothing to do\n"


@pytest.mark.slow
def test_the_data_of_a_spec_that_was_removed_stays_until_it_is_dropped(made: Project) -> None:
    made.specs()
    assert (
        f"{TABLE}: no spec declares it any more; it is kept"
        in made.run("apply").out + made.run("plan").out
    )
    assert ids(made) == [0, 1, 2]
    done(made.run("apply", "--drop", TABLE))
    assert not Lake(home(made)).exists(TABLE)


# -- a workspace that is not as it must be --------------------------------------------------------


@pytest.fixture
def spoilt(applied: Project) -> Iterator[Project]:
    """A project to do damage to; it is put back as it was."""
    folder = applied.path / ".bowerbird"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield applied
    for path in folder.glob("metadata.db*"):
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.slow
def test_a_workspace_of_a_newer_version_is_left_alone(spoilt: Project) -> None:
    path = spoilt.path / ".bowerbird" / "metadata.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    told(spoilt.run("apply"), 5, "9999", "try: install a newer Bowerbird")
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_database_that_is_damaged_is_told(spoilt: Project) -> None:
    for extra in ("-wal", "-shm"):
        (spoilt.path / ".bowerbird" / f"metadata.db{extra}").unlink(missing_ok=True)
    path = spoilt.path / ".bowerbird" / "metadata.db"
    path.write_bytes(b"not what it was" * 1000)
    told(spoilt.run("apply"), 5, "not a database", "try: bowerbird config")


def test_an_iceberg_metadata_file_that_is_damaged_is_told(spoilt: Project) -> None:
    files = sorted(spoilt.path.rglob("*.metadata.json"))
    for path in files:
        path.write_text("{")
    told(spoilt.run("plan"), 5, "shop.letters", "cannot be read", "try: restore it from a copy")


def test_an_iceberg_metadata_file_that_is_gone_is_told(spoilt: Project) -> None:
    for path in spoilt.path.rglob("*.metadata.json"):
        path.unlink()
    told(spoilt.run("plan"), 5, "shop.letters")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one mebibyte."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a disk of a test's own can be mounted by root alone, and not in every box")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path) -> Path:
    path = disk / "ballast"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


@pytest.mark.slow
def test_a_disk_that_fills_up_is_told_and_the_same_command_goes_on(
    made: Project, small_disk: Path
) -> None:
    toml = made.path / "bowerbird.toml"
    toml.write_text(toml.read_text().replace(".bowerbird/warehouse", str(small_disk)))
    made.specs(tables_py=LETTERS.replace("letters", "more"))
    ballast = fill(small_disk)
    ended = made.run("apply")
    assert "Traceback" not in ended.err
    assert ended.code in (1, 5)
    assert "full" in ended.err or "No space left" in ended.err
    ballast.unlink()
    done(made.run("apply"))


@pytest.mark.slow
def test_a_full_disk_under_everything_is_told_and_the_same_command_goes_on(
    small_disk: Path,
) -> None:
    project = Project(small_disk / "shop")
    project.specs(tables_py=LETTERS)
    ballast = fill(small_disk)
    told(project.run("apply"), 5, "the metadata database")
    ballast.unlink()
    done(project.run("apply"))


@pytest.mark.slow
def test_a_disk_that_fills_up_in_the_middle_is_told(small_disk: Path) -> None:
    project = Project(small_disk / "shop")
    project.specs(tables_py=SLOW)
    process = project.start("apply")
    until((project.path / "started").exists)
    ballast = fill(small_disk)
    with contextlib.suppress(OSError):
        (project.path / "go").symlink_to("/dev/null")
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    assert process.returncode in (1, 5), out + err
    assert "full" in err or "I/O" in err
    ballast.unlink()
    done(project.run("apply"))


def test_a_disk_that_is_read_only_is_told(small_disk: Path) -> None:
    project = Project(small_disk / "shop")
    project.specs(tables_py=LETTERS)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    told(project.run("apply", PYTHONDONTWRITEBYTECODE="1"), 5, "Read-only")


@pytest.mark.slow
def test_a_database_that_goes_away_in_the_middle_is_told_and_the_same_command_goes_on(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    project.specs(tables_py=SLOW)
    with postgres() as server:
        there = {"BOWERBIRD_METADATA": server.create("shop")}
        done(project.run("migrate", **there))
        process = project.start("apply", **there)
        until((project.path / "started").exists)
        server.stop()
        (project.path / "go").touch()
        out, err = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in err) == (5, False), out + err
        assert "the metadata database does not answer" in err
        assert "try: the same command again, once it is: the run goes on where it was" in err
        told(project.run("status", **there), 5, "does not answer")
        server.start()
        done(project.run("apply", **there))
        assert [run["steps"][0]["attempts"] for run in shown(project, **there)] == [2]
        assert project.run("apply", **there).out == "nothing to do\n"


def shown(project: Project, **variables: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.run("status", "--json", **variables).out)
    return found


# -- two at once, and Ctrl-C ----------------------------------------------------------------------


@pytest.mark.slow
def test_of_two_that_apply_at_once_the_second_is_told_of_the_first(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    project.specs(tables_py=SLOW)
    first = project.start("apply")
    until((project.path / "started").exists)
    told(project.run("apply"), 3, "run 0", "of user:", f"writes {TABLE}", "bowerbird cancel")
    (project.path / "go").touch()
    _, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert ids(project) == [0, 1, 2]
    assert len(Lake(home(project)).load(TABLE).snapshots()) == 1
    assert project.run("apply").out == "nothing to do\n"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_after_ctrl_c_in_a_long_step_the_same_command_finishes(
    new_project: Callable[[], Project], engine: str
) -> None:
    project = new_project()
    project.specs(tables_py=SLOW)
    process = project.start("apply", BOWERBIRD_ENGINE=engine)
    until((project.path / "started").exists)
    assert [run["cut_off"] for run in json.loads(project.run("status", "--json").out)] == [False]
    os.killpg(process.pid, signal.SIGINT)
    if engine == "threads":  # a thread cannot be stopped: its task is left to end
        (project.path / "go").touch()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False), out + err
    assert "interrupted; the same command goes on from here" in err
    (project.path / "go").touch()
    runs = json.loads(project.run("status", "--json").out)
    assert [run["steps"][0].get("holder") for run in runs] == [None]
    ended = project.run("apply", "--json", BOWERBIRD_ENGINE=engine)
    done(ended)
    assert json.loads(ended.out)["id"] == runs[0]["id"]
    assert ids(project) == [0, 1, 2]


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(new_project: Callable[[], Project]) -> None:
    project = new_project()
    project.specs(tables_py=SLOW)
    process = project.start("apply")  # a step in a thread cannot be stopped by the first
    until((project.path / "started").exists)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)
    _, err = process.communicate(timeout=20)
    # The second may come when the first has all but ended it.
    assert process.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err
    (project.path / "go").touch()
    done(project.run("apply"))
    assert ids(project) == [0, 1, 2]


BEGUN = """
import bowerbird.__main__, sys
sys.argv[0] = "bowerbird"
print("begun", flush=True)
bowerbird.__main__.main()
"""
"""The command, once Python has begun: before that no code of ours can catch a signal."""


@pytest.mark.slow
@pytest.mark.parametrize("words", [("plan",), ("apply",), ("status",), ("up",)], ids=" ".join)
def test_ctrl_c_at_any_time_ends_a_command_without_a_traceback(
    new_project: Callable[[], Project], words: tuple[str, ...]
) -> None:
    project = new_project()
    project.specs(tables_py=LETTERS)
    for wait in (0, 0.05, 0.15, 0.3, 0.6, 1.2, 2.0):
        process = subprocess.Popen(
            [sys.executable, "-c", BEGUN, *words],
            cwd=project.path, env=environment(), text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, (wait, err)
        # It may have ended just before, or have been about to: that ends it, too.
        assert process.returncode in (0, 2, 130, -signal.SIGINT), (wait, out + err)
    done(project.run("apply"))
    assert ids(project) == [0, 1, 2]


@pytest.mark.slow
def test_a_killed_apply_is_shown_as_cut_off_and_gone_on_with_by_the_same_command(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    project.specs(tables_py=SLOW)
    process = project.start("apply")
    until((project.path / "started").exists)
    process.kill()
    process.communicate()
    (run,) = json.loads(project.run("status", "--json").out)
    assert (run["state"], run["cut_off"]) == ("running", True)
    assert " cut off " in project.run("status").out
    shown = project.run("status", "last").out
    assert f"run {run['id']} is cut off  (user:" in shown
    assert shown.endswith("its process is gone; `bowerbird apply` goes on\n")
    (project.path / "go").touch()
    done(project.run("apply"))
    assert len(json.loads(project.run("status", "--json").out)) == 1
    assert ids(project) == [0, 1, 2]


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="Linux, x86")
@pytest.mark.parametrize(("asked", "gets"), [({}, "jemalloc"), ({POOL: "system"}, "system")])
def test_arrow_gives_back_what_it_freed_unless_told_otherwise(
    new_project: Callable[[], Project], asked: dict[str, str], gets: str
) -> None:
    project = new_project()
    say = "import pathlib; pathlib.Path('pool').write_text(pa.default_memory_pool().backend_name)"
    project.specs(tables_py=LETTERS.replace("    return", f"    {say}\n    return"))
    command = [sys.executable, "-m", "bowerbird", "apply"]  # cold: nothing is loaded yet
    subprocess.run(command, cwd=project.path, env=environment(**asked), check=True)
    assert (project.path / "pool").read_text() == gets


# -- steps and strangers --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_step_that_raises_is_told_and_its_log_has_the_rest(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    project.specs(tables_py=LETTERS.replace("def rows():", "def rows():\n    {}['where']"))
    ended = project.run("apply")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "KeyError: 'where'" in ended.err
    assert "log: bowerbird logs " in ended.err
    assert "{}['where']" in project.run("logs", "last", "s1").out


@pytest.mark.slow
def test_a_source_that_returns_nothing_is_told(new_project: Callable[[], Project]) -> None:
    project = new_project()
    project.specs(tables_py=LETTERS.replace("    return pa", "    pa"))
    ended = project.run("apply")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "its source specs.tables:rows returned nothing" in ended.err


@pytest.mark.slow
def test_a_table_that_a_stranger_changed_is_left_until_it_is_to_be_replaced(made: Project) -> None:
    table = Lake(home(made)).load(TABLE)
    table.append(pa.table({"id": pa.array([77], pa.int64())}).cast(table.schema().as_arrow()))
    shown = made.run("plan").out
    assert f"{TABLE}: left as it is: changed outside the house" in shown
    assert f"try: bowerbird apply --replace {TABLE}" in shown
    done(made.run("apply"))
    assert ids(made) == [0, 1, 2, 77]
    done(made.run("apply", "--replace", TABLE))
    assert ids(made) == [0, 1, 2]
    assert made.run("plan").out == "nothing to do\n"


@pytest.mark.slow
def test_what_was_rolled_back_stays_back_until_it_is_released(made: Project) -> None:
    made.specs(tables_py=LETTERS.replace("COUNT = 3", "COUNT = 5"))
    done(made.run("apply"))
    done(made.run("rollback", TABLE))
    assert ids(made) == [0, 1, 2]
    assert f"try: bowerbird apply --release {TABLE}" in made.run("apply").out + made.run("plan").out
    assert ids(made) == [0, 1, 2]
    done(made.run("apply", "--release", TABLE))
    assert ids(made) == [0, 1, 2, 3, 4]
