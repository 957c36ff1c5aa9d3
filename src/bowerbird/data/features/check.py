"""After a promotion: judged once more as it is live, kept as a release, rolled back if it fails.

The release of a promotion holds the statistics of every partition of the training table, so two
versions can be compared without reading either. It is made by a step that comes after the
promotion's commit; where a check fails, that step puts the partitions back (no byte is written)
and ends as failed. What was rolled back is held until its definition changes or it is released.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core import functions
from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import RefError, RefusedError
from bowerbird.core.faults import point
from bowerbird.core.inside import tell
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Want
from bowerbird.core.rollback import at
from bowerbird.core.specs import Spec, of_kind
from bowerbird.core.steps import Home
from bowerbird.core.targets import WHOLE, Entry, History, LogTarget, Read, Token, Version
from bowerbird.data.features import promote
from bowerbird.data.features.backfill import groups_of
from bowerbird.data.features.gates import Facts, Finding, Gate, calls_of, failures, halves, judge
from bowerbird.data.features.specs import Backfill, FeatureGroup, Promotion
from bowerbird.data.features.statistics import (
    Statistics,
    decode,
    encode,
    merged_columns,
    summarise,
)
from bowerbird.data.features.verdicts import as_results, lines, of_results
from bowerbird.data.making import Job, Made, makes_release, want
from bowerbird.lake import Lake, Table, TableLog, parts, rollback
from bowerbird.lake.read import read_by_cell
from bowerbird.workspace.releases import open_log

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

FILE = "statistics.msgpack"
FINDINGS = "findings.msgpack"
TOGETHER = 8
"""So many partitions are read at a time."""

CHECK = makes_release("bowerbird.data.features.check:check")


def cells(
    home: Home, spec: Promotion, specs: Mapping[str, Spec], present: Mapping[str, Read]
) -> tuple[Want, ...]:
    """What is to be promoted, partition by partition; and the verdict on what is live then."""
    promoted = promote.cells(home, spec, specs, present)
    if not any(all(one.data.values()) for one in promoted):
        return promoted
    return (*promoted, _want(spec, specs))


def _want(spec: Promotion, specs: Mapping[str, Spec]) -> Want:
    into = of_kind(specs, spec.into, Table)
    staged = [of_kind(specs, ref, Backfill) for ref in spec.staged]
    groups = (group for one in staged for group in groups_of(one, specs))
    calls = (*spec.checks, *calls_of(spec.gates))
    uses: list[Spec] = [into, *staged, *groups]
    return want(spec, "features.check", reads=(spec.into,), uses=uses, calls=calls)


class Kept(msgspec.Struct, frozen=True):
    """The statistics of one partition. data: the data version that they are of."""

    data: str
    statistics: bytes


def check(job: Job) -> Made:
    """In a worker: summarise what changed, judge it, and put it back if it fails."""
    spec, lake, specs = job.spec(Promotion), Lake(job.home), _specs(job)
    staged = [of_kind(specs, ref, Backfill) for ref in spec.staged]
    of = promote.staged_columns(of_kind(specs, spec.into, Table), staged, specs)
    columns = tuple(name for names in of.values() for name in names)
    version = job.inputs[spec.into].version
    history = TableLog(lake, spec.into).load()
    if version is not None:
        history = at(spec.into, history, version)
    before_kept = _last(job.home, job.ref)
    after = _statistics(lake, spec, columns, history, before_kept)
    changed = sorted(c for c in after if c not in before_kept or before_kept[c] != after[c])
    findings = (
        *_of_the_whole(history, changed),
        *_judged(spec.gates, after, before_kept, changed),
        *_by_functions(lake, spec, version, changed),
    )
    if wrong := failures(findings):
        back = _roll_back(job, spec, history, changed)
        told = "\n  ".join(line for one in wrong for line in lines(one))
        raise RefusedError(
            f"what was promoted is not as it must be\n  {told}\n{back}",
            results=as_results(findings),
            where=str(spec.ref),
            expected="checks that find nothing",
            fix=f"bowerbird apply --release {spec.into}, once it is mended",
        )
    Path(job.folder, FILE).write_bytes(msgspec.msgpack.encode(after))
    Path(job.folder, FINDINGS).write_bytes(msgspec.msgpack.encode(findings))
    note = {"version": version, "partitions": len(after), "changed": len(changed)}
    return Made(note=note, results={"partitions": len(after), "changed": len(changed)})


def _specs(job: Job) -> dict[str, Spec]:
    """All that a job was given, by ref."""
    kinds: tuple[type[Spec], ...] = (Promotion, Backfill, FeatureGroup, Table)
    named = {kind.__name__: kind for kind in kinds}
    return {ref: job.spec(named[one["kind"]], ref) for ref, one in job.envelopes.items()}


def _of_the_whole(history: History, changed: Sequence[str]) -> tuple[Finding, ...]:
    """What the gates of the whole table found before the newest commit to these partitions."""
    entry, _ = _way_back(history, changed, None)
    return () if entry is None else of_results(entry.results)


def _way_back(
    history: History, changed: Sequence[str], judged: Version | None
) -> tuple[Entry | None, Version | None]:
    """The newest commit that changed any of these partitions, and the version to put them back to:
    the one that was judged last, else the one before that commit."""
    versions = [entry.version for entry in history.entries]
    for entry, before in zip(history.entries, [*versions[1:], None], strict=True):
        if WHOLE in entry.changed or not entry.changed.isdisjoint(changed):
            return entry, judged if judged in versions else before
    return None, None


def kept(home: Home, ref: str, version: Version | None = None) -> dict[str, Kept]:
    """Partition -> its statistics, of the live release of a promotion or of another one.

    Raises `RefError` where there is none.
    """
    files = open_log(home, ref).pinned(version).files
    return msgspec.msgpack.decode(files.path(FILE).read_bytes(), type=dict[str, Kept])


def findings(home: Home, ref: str) -> tuple[Finding, ...]:
    """What the gates found of the live release of a promotion; nothing where none is there."""
    try:
        files = open_log(home, ref).pinned().files
    except RefError:
        return ()
    if FINDINGS not in files.files:  # made before findings were kept
        return ()
    return msgspec.msgpack.decode(files.path(FINDINGS).read_bytes(), type=tuple[Finding, ...])


def statistics_of(found: Mapping[str, Kept]) -> dict[str, dict[str, Statistics]]:
    """Partition -> column -> statistics."""
    return {cell: decode(one.statistics) for cell, one in found.items()}


def _last(home: Home, ref: str) -> dict[str, Kept]:
    try:
        return kept(home, ref)
    except RefError:
        return {}


def _statistics(
    lake: Lake,
    spec: Promotion,
    columns: tuple[str, ...],
    history: History,
    known: Mapping[str, Kept],
) -> dict[str, Kept]:
    """Of every partition; those whose rows did not change are taken over."""
    version, cells = history.head, history.cells()
    there = list(parts.sizes(lake, spec.into, version)) if version else []
    data = {cell: cells[cell].data if cell in cells else str(version) for cell in there}
    made = {cell: known[cell] for cell in there if cell in known and known[cell].data == data[cell]}
    for cell, rows in _partitions(
        lake, spec, version, columns, [c for c in there if c not in made]
    ):
        made[cell] = Kept(data[cell], encode(summarise(rows)))
    tell(f"{len(made)} partitions summarised")
    return {cell: made[cell] for cell in there}


def _partitions(
    lake: Lake,
    spec: Promotion,
    version: Version | None,
    columns: tuple[str, ...] | None,
    cells: Sequence[str],
) -> Iterator[tuple[str, pa.Table]]:
    """The rows of some partitions, each by itself; a few are in memory at once."""
    for start in range(0, len(cells), TOGETHER):
        some = cells[start : start + TOGETHER]
        yield from read_by_cell(lake, spec.into, version, columns, some).items()


def _judged(
    gates: tuple[Gate, ...],
    after: Mapping[str, Kept],
    before: Mapping[str, Kept],
    changed: list[str],
) -> tuple[Finding, ...]:
    """What the gates of columns say of the partitions that changed, as they are live now."""
    now = merged_columns(decode(after[cell].statistics) for cell in changed)
    was = merged_columns(decode(one.statistics) for one in before.values())
    _, of_columns = halves(gates)
    return judge(of_columns, now, was or None, Facts()) if now else ()


def _by_functions(
    lake: Lake, spec: Promotion, version: Version | None, changed: list[str]
) -> list[Finding]:
    """What the checks of the user say: a line each, or one a partition that is wrong."""
    told = []
    for name in spec.checks:
        function: Callable[[pa.Table], Any] = functions.load(name)
        wrong = [
            Finding(name, "", passed=False, text=f"{cell}: {said}")
            for cell, rows in _partitions(lake, spec, version, None, changed)
            if (said := function(rows))
        ]
        told += wrong or [Finding(name, "", passed=True, text="found nothing wrong")]
    return told


def _roll_back(job: Job, spec: Promotion, history: History, changed: Sequence[str]) -> str:
    """Put the partitions back that changed since the last verdict. Once, whoever does it again."""
    entry, before = _way_back(history, changed, _judged_last(job.home, job.ref))
    if entry is None or before is None or history.head is None:
        return "there is no earlier version to go back to"
    lake, cells = Lake(job.home), tuple(changed)
    held = digest(promote.promotion_want(spec, _specs(job)).definition)
    token = Token(f"{entry.token or entry.version}/checked")
    target = LogTarget(TableLog(lake, spec.into), SystemClock())
    point("features.check.rollback")
    change = rollback(lake, spec.into, before, "a1", cells, dict.fromkeys(cells, held))
    target.commit(token, history.head, change)
    return f"rolled back to version {before}: {len(cells)} partitions, no byte written"


def _judged_last(home: Home, ref: str) -> Version | None:
    """The version of the table that the live release of a promotion is a verdict on."""
    try:
        told = open_log(home, ref).pinned().files.note.get("version")
    except RefError:
        return None
    return Version(str(told)) if told else None
