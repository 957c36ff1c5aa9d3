"""Promotion: staged features become columns of a training table, if every gate lets them through.

The partitions of all staging tables are joined to the rows task by task, each task summarises what
it joined, and the driver judges the whole before it commits: one commit, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bowerbird.core import inside
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import RefusedError, SpecError
from bowerbird.core.plans import Cost, Want
from bowerbird.core.specs import Spec, of_kind
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import Change, Read, fields_of
from bowerbird.data.features.backfill import column_name, decoded, divided, groups_of
from bowerbird.data.features.gates import Facts, Finding, failures, halves, judge
from bowerbird.data.features.keys import places
from bowerbird.data.features.kinds import kinds_of
from bowerbird.data.features.offenders import duplicates, offenders
from bowerbird.data.features.specs import Backfill, FeatureGroup, Promotion
from bowerbird.data.features.statistics import (
    decode,
    encode,
    merged_columns,
    summarise,
)
from bowerbird.data.features.verdicts import as_results, lines
from bowerbird.data.making import want
from bowerbird.lake import Lake, Table, Written, parts, read, write

REFERENCE = 8
"""New partitions are compared with so many of the latest live ones."""

IN_ONE_COMMIT = 1 << 30


# -- what is wanted --------------------------------------------------------------------------------


def cells(
    home: Home, spec: Promotion, specs: Mapping[str, Spec], present: Mapping[str, Read]
) -> tuple[Want, ...]:
    """A want for each partition of the rows that every staging table has."""
    whole = promotion_want(spec, specs)
    lacking = [ref for ref in whole.reads if present.get(ref, Read()).version is None]
    if lacking:
        return (msgspec.structs.replace(whole, data=dict.fromkeys(lacking, "")),)
    lake, rows = Lake(home), present[spec.rows]
    by = parts.split_of(lake, spec.rows)
    found = []
    sizes, lying = parts.sizes(lake, spec.rows, rows.version), parts.Lying(rows, by)
    for cell, size in (sizes | parts.emptied(present.get(spec.into), sizes)).items():
        staged = {ref: present[ref].cells.get(cell) for ref in spec.staged}
        if None in staged.values():
            continue
        data = {spec.rows: lying.data(fields_of(cell) or {}) or parts.NOTHING}
        data |= {ref: state.data for ref, state in staged.items() if state is not None}
        cost = Cost(rows=size.rows, bytes=size.bytes)
        found.append(msgspec.structs.replace(whole, cell=cell, data=data, cost=cost))
    return tuple(found)


def promotion_want(spec: Promotion, specs: Mapping[str, Spec]) -> Want:
    """What a promotion wants of any partition."""
    into = of_kind(specs, spec.into, Table)
    staged = [of_kind(specs, ref, Backfill) for ref in spec.staged]
    uses: list[Spec] = [into, *staged]
    for one in staged:
        uses += groups_of(one, specs)
    _check(spec, into, staged, specs)
    made = want(spec, "features.promote", reads=(spec.rows, *spec.staged), uses=uses)
    # Its rows come from the staging tables: how those were computed is in their data versions.
    definition = {
        "columns": dict(into.schema),
        "partition": made.definition["uses"][spec.into].get("partition"),
        "rows": spec.rows,
        "staged": list(spec.staged),
    }
    return msgspec.structs.replace(
        made, target=spec.into, definition=definition, together=IN_ONE_COMMIT
    )


def staged_columns(
    into: Table, staged: Sequence[Backfill], specs: Mapping[str, Spec]
) -> dict[str, tuple[str, ...]]:
    """ref of a backfill -> its columns that the training table has."""
    found = {}
    for one in staged:
        groups = groups_of(one, specs)
        names = [column_name(group, name) for group in groups for name in group.names]
        found[str(one.ref)] = tuple(name for name in names if name in into.schema)
    return found


def _check(
    spec: Promotion, into: Table, staged: Sequence[Backfill], specs: Mapping[str, Spec]
) -> None:
    where = "into"
    if into.source:
        raise SpecError(
            f"{spec.into} has a source of its own, which would overwrite what is promoted",
            where=where,
            expected="a table without source=",
        )
    rows = specs.get(spec.rows)
    if isinstance(rows, Table) and rows.partition != into.partition:
        raise SpecError(
            f"{spec.into} is not partitioned as {spec.rows} is",
            where=where,
            expected="the same partition= in both",
        )
    for one in staged:
        if one.rows != spec.rows or one.id != staged[0].id:
            raise SpecError(
                f"{one.ref} is of {one.rows} by {', '.join(one.id)}",
                where="staged",
                expected=f"backfills of {spec.rows} by {', '.join(staged[0].id)}",
            )
    made: dict[str, str] = {}
    for one in staged:
        for group in groups_of(one, specs):
            for name in group.names:
                column = column_name(group, name)
                if made.setdefault(column, str(one.ref)) != str(one.ref):
                    raise SpecError(
                        f"{column} is staged by {made[column]} and by {one.ref}",
                        where="staged",
                        expected="each column once",
                    )
    if isinstance(rows, Table):
        unknown = [name for name in into.schema if name not in rows.schema and name not in made]
        if unknown:
            raise SpecError(
                f"column {unknown[0]!r} of {spec.into} is neither of {spec.rows} nor staged",
                where=where,
                expected=f"columns of the rows, and of: {', '.join(made)}",
            )


# -- how it is made --------------------------------------------------------------------------------


class Promoting(msgspec.Struct, frozen=True):
    """One task. live: the partitions that are live now, to compare with; version of the table."""

    spec: Promotion
    into: Table
    staged: dict[str, tuple[str, ...]]
    id: tuple[str, ...]
    inputs: dict[str, str | None]
    cells: tuple[str, ...]
    live: tuple[str, ...]
    live_version: str | None
    folder: str


class Promoted(msgspec.Struct, frozen=True):
    """What a task joined. statistics, live: encoded. lacking: rows without a staged one."""

    written: Written | None
    rows: int = 0
    matched: int = 0
    duplicates: int = 0
    examples: dict[str, tuple[str, ...]] = {}
    statistics: bytes = b""
    live: bytes = b""


def _tasks(work: Work) -> Iterable[Task]:
    spec, into, staged, groups = _specs(work)
    lake = Lake(work.home)
    by = parts.split_of(lake, spec.rows)
    base = work.step.base if lake.find(spec.into) is not None else None
    there = parts.sizes(lake, spec.into, base) if base else {}
    wanted = tuple(work.step.cells) or (work.step.cell,)
    whole = Promoting(
        spec=spec,
        into=into,
        staged=staged_columns(into, staged, groups),
        id=staged[0].id,
        inputs={ref: now.version for ref, now in work.inputs.items()},
        cells=(),
        live=(),
        live_version=base,
        folder=work.files,
    )
    call = "bowerbird.data.features.promote:join"
    sizes = parts.sizes(lake, spec.rows, whole.inputs[spec.rows])
    for n, some in enumerate(divided(wanted, sizes, by, staged[0].at)):
        live = tuple(cell for cell in some if cell in there)
        job = msgspec.structs.replace(whole, cells=some, live=live)
        yield Task(f"{spec.into} {n}: {some[0]}", call, (work.home, job))
    if there and not any(cell in there for cell in wanted):
        latest = tuple(sorted(there)[-REFERENCE:])
        yield Task("live", call, (work.home, msgspec.structs.replace(whole, live=latest)))


def _specs(
    work: Work,
) -> tuple[Promotion, Table, list[Backfill], dict[str, FeatureGroup]]:
    spec: Promotion = decoded(work.step.spec, Promotion)
    others = work.step.others
    staged: list[Backfill] = [decoded(others[ref], Backfill) for ref in spec.staged]
    refs = [ref for one in staged for ref in one.features]
    groups: dict[str, FeatureGroup] = {ref: decoded(others[ref], FeatureGroup) for ref in refs}
    return spec, decoded(others[spec.into], Table), staged, groups


def join(home: Home, job: Promoting) -> Promoted:
    """In a worker: put staged columns beside the rows of some partitions, and summarise them."""
    import pyarrow as pa

    lake = Lake(home)
    live = _live(lake, job)
    if not job.cells:
        return Promoted(None, live=live)
    staged_columns = [name for names in job.staged.values() for name in names]
    of_rows = [name for name in job.into.schema if name not in staged_columns]
    rows = read(
        lake,
        job.spec.rows,
        job.inputs[job.spec.rows],
        columns=list(dict.fromkeys([*of_rows, *job.id])),
        cells=job.cells,
    )
    inside.tell(f"{rows.num_rows:,} rows of {len(job.cells)} partitions")
    twice, examples = duplicates(rows, job.id)
    told = {"duplicates": examples} if twice else {}
    columns = {name: rows[name] for name in of_rows}
    matched = rows.num_rows
    for ref, names in job.staged.items():
        found = read(lake, ref, job.inputs[ref], columns=[*job.id, *names], cells=job.cells)
        place = places(rows.select(list(job.id)), found.select(list(job.id)))
        matched = min(matched, int((place >= 0).sum()))
        index = pa.array(place, mask=place < 0)
        columns |= {name: found[name].take(index) for name in names}
    made = pa.table({name: columns[name] for name in job.into.schema})
    statistics = encode(summarise(made.select(staged_columns)))
    written = write(lake, job.into, made, job.folder, str(job.into.ref))
    return Promoted(written, rows.num_rows, matched, twice, told, statistics, live)


def _live(lake: Lake, job: Promoting) -> bytes:
    """Statistics of what is live in the same partitions, of the columns that are there already."""
    if not job.live:
        return b""
    known = lake.load(job.spec.into).schema().column_names
    names = [name for names in job.staged.values() for name in names if name in known]
    if not names:
        return b""
    rows = read(lake, job.spec.into, job.live_version, columns=names, cells=job.live)
    return encode(summarise(rows))


def _change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    spec, _, staged, _ = _specs(work)
    done: list[Promoted] = [outcome.result() for outcome in outcomes]
    statistics = merged_columns(decode(one.statistics) for one in done if one.statistics)
    live = merged_columns(decode(one.live) for one in done if one.live)
    looked = all(one.audit for one in staged)  # a leak would have ended the staging
    examples: dict[str, tuple[str, ...]] = {}
    for one in done:
        examples |= {name: examples.get(name, ()) + rows for name, rows in one.examples.items()}
    facts = Facts(
        rows_found=sum(one.matched for one in done),
        rows_expected=sum(one.rows for one in done),
        duplicates=sum(one.duplicates for one in done),
        leaks=0 if looked else None,
        examples=examples,
    )
    # Of partitions in which no row is left there is nothing to judge: they are emptied.
    whole, of_columns = (
        judge(gates, statistics, live or None, facts) if facts.rows_expected else ()
        for gates in halves(spec.gates)
    )
    findings = (*whole, *of_columns)
    if failures(findings):
        raise _refused(work, spec, staged, findings)
    written = Written.joined([one.written for one in done if one.written is not None])
    makes = dict(work.meanings) or {work.step.cell: work.meaning}
    return Change(
        attempt=work.attempt,
        makes=makes,
        overwrites=tuple(makes),
        payload=written,
        results={
            "rows": written.rows,
            "bytes": written.bytes,
            "files": len(written.files),
            "partitions": len(makes),
            "gates": len(findings),
            **as_results(whole),  # those of columns are judged once more, on what is live (`check`)
        },
    )


def _refused(
    work: Work, spec: Promotion, staged: Sequence[Backfill], findings: Sequence[Finding]
) -> RefusedError:
    """The failed gates as one message, with rows to look at; and all that was found."""
    failed = failures(findings)
    names = {one.column for one in failed if one.column}
    lake = Lake(work.home)
    rows: dict[str, tuple[str, ...]] = {}
    for one in staged:
        known = lake.load(one.ref).schema().column_names
        columns = [name for name in known if name in names]
        if columns:
            version = work.inputs[str(one.ref)].version
            wanted = tuple(work.step.cells) or (work.step.cell,)
            found = read(lake, one.ref, version, columns=[*one.id, *columns], cells=wanted)
            rows |= offenders(spec.gates, failed, found, one.id, kinds_of(found.schema))
    # Drift is of all rows together: those that another gate names say nothing of it.
    shown = [
        one
        if one.passed or one.examples or one.gate == "Drift"
        else msgspec.structs.replace(one, examples=rows.get(one.column, ())[:3])
        for one in findings
    ]
    told = [line for one in failures(shown) for line in lines(one)]
    many = f"{len(failed)} gates do" if len(failed) > 1 else "a gate does"
    return RefusedError(
        f"{many} not let the features through; nothing was promoted\n  " + "\n  ".join(told),
        results=as_results(shown),
        where=str(spec.ref),
        expected="staged features that pass, or gates that are meant otherwise",
        fix=f"bowerbird features statistics {spec.staged[0]}",
    )


PROMOTE = StepKind(target=TargetKind.TABLE, tasks=_tasks, change=_change, inverse="table.rollback")
