"""Files in a table's folder that nothing names: what attempts that died have left behind.

What is young stays, for somebody may be about to commit it; so does whatever a run that has not
ended may have written, and what an expiry has listed, which its purge deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core import inside
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import CorruptError, UserError
from bowerbird.core.faults import point
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Cost, Note, Plan, Step
from bowerbird.core.refs import Ref
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import Change, Token
from bowerbird.lake.catalog import Lake, identifier, target_ref
from bowerbird.lake.files import Found
from bowerbird.lake.upkeep import expiry, reach

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

AGE = timedelta(days=3)
"""What is younger stays, unless a caller says otherwise."""

BATCH = 500


class Orphans(msgspec.Struct, frozen=True):
    """The files of a table's folder that nothing names, oldest first.

    young: files that nothing names either, but that are younger than `older_than`. spared: those of
    runs that have not ended.
    """

    name: str
    older_than: datetime
    files: tuple[Found, ...]
    bytes: int
    young: int
    spared: int


def examine(
    lake: Lake,
    ref: Ref | str,
    older_than: datetime,
    spared: Callable[[], Collection[Token]] = tuple,
) -> Orphans:
    """What a clean-up would delete. Changes nothing.

    older_than: a moment; what was written since stays. spared: tokens of runs that have not ended
    (`Ledger.spared`); it is asked after the files were listed, so that it knows of every attempt
    that may have written one.
    """
    return _examine(lake, ref, older_than, lambda: _runs(spared()))


def _examine(
    lake: Lake, ref: Ref | str, older_than: datetime, runs: Callable[[], Collection[str]]
) -> Orphans:
    location = lake.load(ref).location()
    listed = {reach.bare(one.path): one for one in lake.files.listed(location)}
    of_open_runs = runs()
    # Loaded after the listing: what was committed in between is named.
    table = lake.load(ref)
    _refuse(lake, table, listed)
    left = reach.unneeded(table, listed.keys() - _of_expiries(table))
    held = {path for path in left if _run_of(path, location) in of_open_runs}
    loose = [listed[path] for path in left if path not in held]
    old = sorted((one for one in loose if one.at < older_than), key=lambda one: (one.at, one.path))
    return Orphans(
        name=identifier(ref),
        older_than=older_than,
        files=tuple(old),
        bytes=sum(one.bytes for one in old),
        young=len(loose) - len(old),
        spared=len(held),
    )


def _runs(tokens: Iterable[Token]) -> frozenset[str]:
    return frozenset(token.partition("/")[0] for token in tokens)


def _run_of(path: str, location: str) -> str | None:
    """The run whose attempt wrote a file: attempts write under ``data/<run>/<step>/<attempt>``."""
    place = path.removeprefix(reach.bare(location).rstrip("/") + "/").split("/")
    return place[1] if place[0] == "data" and len(place) > 2 else None


def _of_expiries(table: IcebergTable) -> set[str]:
    lists = expiry.pending(table)
    return {path for one in lists for path in (reach.bare(one), *expiry.listed(table, one))}


def _refuse(lake: Lake, table: IcebergTable, listed: Collection[str]) -> None:
    """Raise where the listing is not what the table names its files by."""
    name, place = ".".join(table.name()), reach.bare(table.location()).rstrip("/") + "/"
    metadata = reach.bare(table.metadata_location)
    if metadata.startswith(place) and metadata not in listed:
        raise CorruptError(
            f"{name}: {table.metadata_location} is not among the files of {table.location()}",
            expected="a folder that lists what the table names",
        )
    for other in lake.tables():
        if other != name and reach.bare(lake.location(other)).startswith(place):
            raise UserError(
                f"{name}: the files of {other} lie in its folder: {lake.location(other)}",
                expected="a folder with the files of one table",
                fix=f"move {other}, or clean {name} by hand",
            )


def plan_clean(
    lake: Lake,
    ref: Ref | str,
    older_than: datetime,
    spared: Callable[[], Collection[Token]] = tuple,
) -> Plan:
    """A plan of one step that deletes what nothing names; empty, with a note, if there is none.

    The step looks again. Runs that begin after the plan write younger files than it asks for, so
    those that were open at the moment of the plan are all that must be spared.
    """
    tokens: set[Token] = set()

    def asked() -> Collection[Token]:
        tokens.update(spared())
        return tokens

    shown = examine(lake, ref, older_than, asked)
    target, runs = target_ref(ref), sorted(_runs(tokens))
    wants = digest([target, "clean", older_than.isoformat(), runs])
    if not shown.files:
        text = f"no file is there that nothing names, but {shown.young:,} young ones"
        return Plan(notes=(Note(target, text),), wants=wants)
    step = Step(
        id="s1",
        kind="table.clean",
        target=target,
        reason=f"{len(shown.files):,} files from before {older_than:%Y-%m-%d %H:%M} that nothing "
        "names",
        definition={"older_than": older_than.isoformat(), "runs": runs},
        cost=Cost(bytes=shown.bytes),
    )
    return Plan(steps=(step,), wants=wants)


def clean(home: Home, ref: str, older_than: str, runs: Sequence[str]) -> dict[str, int]:
    """Delete what nothing names; what is gone already is no error."""
    lake = Lake(home)
    found = _examine(lake, ref, datetime.fromisoformat(older_than), lambda: runs).files
    point("lake.clean.before")
    for start in range(0, len(found), BATCH):
        inside.tell(done=start, total=len(found))
        lake.files.delete(one.path for one in found[start : start + BATCH])
        point("lake.clean.between")
    lake.files.prune(f"{lake.location(ref)}/data")
    inside.tell(done=len(found), total=len(found))
    return {"files": len(found), "bytes": sum(one.bytes for one in found)}


def _tasks(work: Work) -> Iterable[Task]:
    asked = work.step.definition
    args = (work.home, work.step.target, asked["older_than"], tuple(asked["runs"]))
    return [Task(work.step.target, "bowerbird.lake.upkeep.orphans:clean", args)]


def _change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    return Change(work.attempt, results=outcomes[0].result())


CLEAN = StepKind(target=TargetKind.NONE, tasks=_tasks, change=_change, repeatable=True)
