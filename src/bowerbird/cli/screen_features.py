"""Views of features on the terminal: statistics, two versions, what gates found. 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from bowerbird.cli.screen import err, hanging, indented, noted, out
from bowerbird.cli.screen import table as grid

if TYPE_CHECKING:
    from bowerbird.data.features.desk import OneView
    from bowerbird.data.features.figures import (
        ColumnFigures,
        DifferenceFigures,
        NumberFigures,
        StatisticsView,
    )
    from bowerbird.data.features.gates import Finding
    from bowerbird.data.features.interop.module import Imported
    from bowerbird.data.features.online import Contents
    from bowerbird.data.features.views import Alike, CellsView, GroupView, Running

_NOTHING = "-"

FEW = 12
"""So many partitions that stand alike are named."""


def standing(shown: Sequence[CellsView]) -> None:
    """A line a backfill or promotion; under it why there is something to do."""
    if not shown:
        out.print("no backfill and no promotion is declared")
        return
    rows = [
        [
            one.ref,
            one.owner,
            f"{one.current:,}/{one.cells:,}",
            f"{one.todo:,}" if one.todo else "",
            f"{one.rows:,}" if one.rows else "",
            f"~{one.seconds:.0f} s" if one.seconds is not None else "",
        ]
        for one in shown
    ]
    grid("", ["what", "owner", "current", "to do", "rows", "takes"], rows)
    for one in shown:
        for told in _beside(one):
            noted(f"{one.ref}: {told}")
    if any(one.todo and one.seconds is not None for one in shown):
        hanging("takes: ", "as rows took before; a worker that must start first comes on top")


def _beside(one: CellsView) -> list[str]:
    """What of a backfill or promotion is worth a line of its own."""
    told = [at_work(one.running)] if one.running is not None else []
    if one.failure is not None:
        told.append(f"its newest run {one.failure.told}")
    if one.held:
        told.append(f"{one.held} partitions are held: they were rolled back")
    return told + list(one.reasons[:3] or ([one.waits] if one.waits else []))


def one(shown: OneView) -> None:
    """A backfill or promotion: its partitions that are not current, its versions, its last run,
    what the gates found."""
    from bowerbird.data.features.views import alike

    standing([shown.line])
    for name, text in shown.facts.items():
        if text:
            hanging(f"{name}: ", text)
    for note in (note for note in shown.notes if note.text != shown.line.waits):
        noted(note.text)
    for some in alike(shown.partitions):
        if some.standing != "current":
            _partitions(some)
    rows = [
        [one.version, one.by, f"{one.partitions:,}", f"{one.rows or 0:,}", _became(shown, n)]
        for n, one in enumerate(shown.commits)
    ]
    if rows:
        grid("", ["version", "by", "partitions", "rows", ""], rows)
    for run in shown.runs[:1]:
        out.print(f"run {run.run[:13]} of {run.by} is {run.stands}", markup=False)
    if shown.line.failure is not None:
        indented(shown.line.failure.error)
    elif shown.verdict.of == shown.line.ref and shown.verdict.live:
        findings(shown.verdict.live)


def _partitions(some: Alike) -> None:
    """Partitions that stand alike: a few of them, and how many more."""
    many, why = len(some.partitions), f": {some.why}" if some.why else ""
    hanging(f"{many:,} {some.standing}", why)
    told = " ".join(part.cell for part in some.partitions[:FEW])
    hanging("   ", told + (f" and {many - FEW:,} more (--json shows all)" if many > FEW else ""))


def _became(shown: OneView, nth: int) -> str:
    """What a version is now, in words."""
    one = shown.commits[nth]
    told = [shown.newest] if nth == 0 else []
    told += [f"back to {one.back_to}"] if one.back_to else []
    return ", ".join([*told, "rolled back"] if one.undone else told)


def at_work(one: Running) -> str:
    """How far a run is."""
    told = f"run {one.run[:13]} of {one.by} is {one.state}: {one.done} of {one.steps} steps"
    told += f", {one.cells_done:,} of {one.cells:,} partitions" if one.cells else ""
    return told + ("" if one.moving else "; bowerbird apply goes on with it")


def group(shown: GroupView) -> None:
    """A group: its columns, then its SQL."""
    out.print(Text(shown.ref, style="bold"), f"  {shown.owner}", sep="")
    if shown.description:
        out.print(shown.description, markup=False)
    out.print(f"of {shown.source} by {', '.join(shown.key)}; {shown.kept or 'kept nowhere'}")
    out.print(f"runs in {', '.join(shown.places)}")
    if shown.used_by:
        out.print(f"used by {', '.join(shown.used_by)}")
    grid("", ["column", "type"], [[name, kind] for name, kind in shown.columns.items()])
    if shown.sql:
        out.print(shown.sql, markup=False, soft_wrap=True)  # as it is, to be copied


def statistics(shown: StatisticsView) -> None:
    """A line a column of all partitions together; what is odd under it; then gates, then drift."""
    many = "1 partition" if len(shown.parts) == 1 else f"{len(shown.parts):,} partitions"
    head = f"{shown.rows:,} rows, {many}, version {shown.version}"
    out.print(Text(shown.name, style="bold"), f"  {head}", sep="")
    rows = [
        [
            one.column,
            one.kind,
            share(one.coverage),
            f"{one.nulls:,}" if one.nulls else "",
            distinct(one),
            *middle(one),
        ]
        for one in shown.columns
    ]
    heads = ["column", "kind", "covered", "null", "distinct", "least", "median", "greatest"]
    grid("", heads, rows)
    for one in shown.columns:
        for told in oddities(one):
            noted(f"{one.column}: {told}")
    if shown.findings:
        findings(shown.findings)
    if shown.against:
        out.print(f"against version {shown.against}", markup=False)
        differences(shown.differences)


def parts(shown: StatisticsView) -> None:
    """Partition by partition, a line a column."""
    heads = ["column", "covered", "null", "distinct", "least", "median", "greatest"]
    for part in shown.parts:
        rows = part.columns[0].rows if part.columns else 0
        out.print(Text(part.part, style="bold"), f"  {rows:,} rows", sep="")
        lines = [
            [one.column, share(one.coverage), f"{one.nulls:,}", distinct(one), *middle(one)]
            for one in part.columns
        ]
        grid("", heads, lines)


def differences(shown: Sequence[DifferenceFigures]) -> None:
    """A line a column: covered and mean before and after, and how far it has moved."""
    rows = [
        [
            one.column,
            f"{_share_of(one.before)} → {_share_of(one.after)}",
            f"{_mean_of(one.before)} → {_mean_of(one.after)}",
            number(one.drift.psi, 3),
            number(one.drift.ks, 3),
            _news(one),
        ]
        for one in shown
    ]
    grid("", ["column", "covered", "mean", "PSI", "KS", ""], rows)


def findings(shown: Sequence[Finding]) -> None:
    """What failed, with rows to look at; then what passed, a line a gate."""
    bad = [one for one in shown if not one.passed]
    for one in bad:
        _finding(one, "failed", "red")
        for row in one.examples:
            hanging("           ", Text(row, style="dim"))
    for gate, ones in _by_gate([one for one in shown if one.passed]).items():
        if len(ones) == 1:
            _finding(ones[0], "passed", "green")
        else:
            told = f": {len(ones)} columns"
            out.print(Text("   passed  ", style="green"), Text(gate, style="bold"), told, sep="")
    verdict = f"{len(bad)} of {len(shown)} checks failed" if bad else f"{len(shown)} checks passed"
    out.print(Text(verdict, style="bold red" if bad else "bold green"))


def pushed(shown: Contents) -> None:
    """What is live now."""
    one = shown.about
    out.print(
        f"{one.ref}: {shown.rows:,} keys of version {one.version}, "
        f"fresh to {one.fresh:%Y-%m-%d %H:%M} UTC",
        markup=False,
    )


def imported(shown: Imported, to: str) -> None:
    """What was made and what was left out; where the module is printed, on the other stream."""
    screen = out if to else err
    if to:
        screen.print(f"wrote {to}: {', '.join(shown.specs)}", markup=False)
    for note in shown.notes:
        noted(note, screen)


def _by_gate(shown: Sequence[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in shown:
        found.setdefault(one.gate, []).append(one)
    return found


def _finding(one: Finding, word: str, colour: str) -> None:
    where = f"{one.gate} {one.column}".rstrip()
    hanging(Text(f"   {word}  ", style=colour), Text(where, style="bold"), f": {one.text}")


def share(value: float | None) -> str:
    """98.2%; never 100 % where something lacks."""
    if value is None:
        return _NOTHING
    text = f"{value:.1%}"
    if text == "100.0%" and value < 1:
        return ">99.9%"
    return "<0.1%" if text == "0.0%" and value > 0 else text


def number(value: float | None, digits: int = 4) -> str:
    """Four digits are what tells columns apart on a line."""
    if value is None:
        return _NOTHING
    if value == int(value) and abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def distinct(one: ColumnFigures) -> str:
    """How many distinct values: of names, or of numbers."""
    found = one.names or one.numbers
    return number(round(found.distinct)) if found else _NOTHING


def middle(one: ColumnFigures) -> list[str]:
    """Least, median and greatest; of names, the most frequent."""
    if one.numbers is not None and one.numbers.finite:
        found = one.numbers
        return [number(found.low), number(found.quantiles["p50"]), number(found.high)]
    if one.names is not None and one.names.top:
        name, count = one.names.top[0]
        text = name if len(name) <= 16 else name[:15] + "…"
        return ["", f"{text!r}", f"{count:,}x"]
    return ["", "", ""]


def oddities(one: ColumnFigures) -> list[str]:
    """What of a column is worth a line of its own."""
    told = []
    if one.numbers is not None:
        told += _not_numbers(one.numbers)
    if len(one.dimensions) > 1:
        by_size = ", ".join(f"{size} ({rows:,} rows)" for size, rows in one.dimensions.items())
        told.append(f"vectors of several dimensions: {by_size}")
    if one.broken:
        told.append(f"{one.broken:,} vectors with a part that is no number")
    if one.zero:
        told.append(f"{one.zero:,} vectors of zeros")
    return told


def _not_numbers(one: NumberFigures) -> list[str]:
    told = [f"{one.nan:,} values are NaN"] if one.nan else []
    return told + ([f"{one.infinite:,} values are infinite"] if one.infinite else [])


def _share_of(one: ColumnFigures | None) -> str:
    return share(one.coverage) if one else _NOTHING


def _mean_of(one: ColumnFigures | None) -> str:
    return number(one.numbers.mean) if one and one.numbers else _NOTHING


def _news(one: DifferenceFigures) -> str:
    told = [one.note] if one.note else []
    told += [f"new: {', '.join(one.new)}"] if one.new else []
    told += [f"gone: {', '.join(one.gone)}"] if one.gone else []
    return "; ".join(told)
