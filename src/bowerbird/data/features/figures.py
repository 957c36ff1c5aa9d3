"""What people and programs are shown of statistics: plain figures, without sketches.

view = statistics_view("shop/spend", "v2", {"day=2017-01-01": summarise(rows)}, findings=found)

The same value is printed, is `--json`, and is the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from bowerbird.data.features import spreads
from bowerbird.data.features.comparison import Difference, Moved, compare
from bowerbird.data.features.gates import Finding
from bowerbird.data.features.statistics import (
    Lists,
    Names,
    Numbers,
    Statistics,
    Vectors,
    merged_columns,
)

BARS = 24
RANKS = {"p1": 0.01, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p99": 0.99}
TOP = 8


class Bars(msgspec.Struct, frozen=True):
    """How numbers are distributed: bars of one width over [low, high]; what is outside, in the
    outer ones. shares: of all values, a bar each."""

    low: float
    high: float
    shares: tuple[float, ...]


class NumberFigures(msgspec.Struct, frozen=True):
    """Of numbers; None of no finite value. quantiles: "p1", "p25", "p50", "p75", "p99"."""

    finite: int
    nan: int
    infinite: int
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None
    distinct: float = 0.0
    quantiles: dict[str, float] = {}
    bars: Bars | None = None


class NameFigures(msgspec.Struct, frozen=True):
    """Of names. top: the most frequent, with their counts."""

    values: int
    distinct: float
    top: tuple[tuple[str, int], ...] = ()


class ColumnFigures(msgspec.Struct, frozen=True):
    """Of one column. numbers: of the values, of an embedding the norms, of a sequence the lengths.

    nulls: rows without a value, NaN too. coverage: the share with one that says something.
    names: of ids, categories, and what is in a sequence. dimensions: of an embedding, and how many
    rows have it; zero, broken: vectors of zeros, and with a part that is no number.
    """

    column: str
    kind: str
    type: str
    rows: int
    nulls: int
    coverage: float | None
    numbers: NumberFigures | None = None
    names: NameFigures | None = None
    elements: NumberFigures | None = None
    dimensions: dict[str, int] = {}
    zero: int = 0
    broken: int = 0


class PartFigures(msgspec.Struct, frozen=True):
    """The columns of one partition."""

    part: str
    columns: tuple[ColumnFigures, ...]


class DifferenceFigures(msgspec.Struct, frozen=True):
    """A column in two versions; the bars of both are over the same range."""

    column: str
    before: ColumnFigures | None
    after: ColumnFigures | None
    drift: Moved = Moved()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    note: str = ""


class StatisticsView(msgspec.Struct, frozen=True):
    """A group's columns in one version, by partition; beside another; and what gates found."""

    name: str
    version: str
    rows: int = 0
    columns: tuple[ColumnFigures, ...] = ()
    parts: tuple[PartFigures, ...] = ()
    against: str = ""
    differences: tuple[DifferenceFigures, ...] = ()
    findings: tuple[Finding, ...] = ()


def statistics_view(
    name: str,
    version: str,
    parts: Mapping[str, Mapping[str, Statistics]],
    *,
    against: str = "",
    before: Mapping[str, Mapping[str, Statistics]] | None = None,
    findings: Sequence[Finding] = (),
) -> StatisticsView:
    """What is shown. parts: partition -> column -> statistics. against, before: another version."""
    whole = merged_columns(parts.values())
    differences: tuple[DifferenceFigures, ...] = ()
    if before is not None:
        was = merged_columns(before.values())
        differences = tuple(difference_figures(one) for one in compare(was, whole))
    return StatisticsView(
        name=name,
        version=version,
        rows=max((one.rows for one in whole.values()), default=0),
        columns=tuple(figures(one) for one in whole.values()),
        parts=tuple(
            PartFigures(part, tuple(figures(one) for one in columns.values()))
            for part, columns in parts.items()
        ),
        against=against,
        differences=differences,
        findings=tuple(findings),
    )


def figures(
    one: Statistics,
    span: tuple[float, float] | None = None,
    names_of: Sequence[str] | None = None,
) -> ColumnFigures:
    """A column's figures. span: what the bars are over; names_of: the names that are counted; none:
    its own."""
    numbers, names, elements = None, None, None
    dimensions: dict[str, int] = {}
    zero = broken = 0
    match one.detail:
        case Numbers() as detail:
            numbers = _numbers(detail, span)
        case Names() as detail:
            names = _names(detail, names_of)
        case Vectors() as detail:
            numbers = _numbers(detail.norms, span)
            dimensions = {str(size): rows for size, rows in detail.dimensions.items()}
            zero, broken = detail.zero, detail.broken
        case Lists(lengths=lengths, elements=inner):
            numbers = _numbers(lengths, span)
            names = _names(inner, names_of) if isinstance(inner, Names) else None
            elements = _numbers(inner, None) if isinstance(inner, Numbers) else None
    return ColumnFigures(
        column=one.column,
        kind=one.kind,
        type=one.type,
        rows=one.rows,
        nulls=one.rows - one.filled,
        coverage=one.coverage if one.rows else None,
        numbers=numbers,
        names=names,
        elements=elements,
        dimensions=dimensions,
        zero=zero,
        broken=broken,
    )


def difference_figures(one: Difference) -> DifferenceFigures:
    """A difference's figures; both versions count the names that are frequent in one of them."""
    ends = [end for side in (one.before, one.after) if side for end in _span(side)]
    span = (min(ends), max(ends)) if ends else None
    tops = [name for side in (one.after, one.before) if side for name in _often(side)]
    names = list(dict.fromkeys(tops))
    return DifferenceFigures(
        column=one.column,
        before=figures(one.before, span, names) if one.before else None,
        after=figures(one.after, span, names) if one.after else None,
        drift=one.drift,
        new=one.new,
        gone=one.gone,
        note=one.note,
    )


def _numbers(one: Numbers, span: tuple[float, float] | None) -> NumberFigures:
    if not one.finite:
        return NumberFigures(0, one.nan, one.infinite)
    found = spreads.quantiles(one.spread, list(RANKS.values()))
    return NumberFigures(
        finite=one.finite,
        nan=one.nan,
        infinite=one.infinite,
        low=one.low,
        high=one.high,
        mean=_known(one.mean),
        std=_known(one.std),
        distinct=spreads.distinct(one.spread),
        quantiles=dict(zip(RANKS, found.tolist(), strict=True)),
        bars=_bars(one, span or _ends(one)),
    )


def _names(one: Names, names: Sequence[str] | None) -> NameFigures:
    top = spreads.top(one.spread, TOP)
    if names is not None:
        top = tuple(spreads.counts(one.spread, names).items())
    return NameFigures(one.values, spreads.distinct(one.spread), top)


def _often(one: Statistics) -> list[str]:
    match one.detail:
        case (Names() as names) | Lists(elements=Names() as names):
            return [name for name, _ in spreads.top(names.spread, TOP)]
    return []


def _bars(one: Numbers, span: tuple[float, float]) -> Bars | None:
    low, high = span
    if not math.isfinite(high - low):  # the ends of what a double can hold
        return None
    if _whole(one, span):
        # Bars of as many whole numbers each, or some would be higher by that alone.
        step = math.ceil((high - low + 1) / BARS)
        bars = math.ceil((high - low + 1) / step)
        low = low - 0.5
        high = low + bars * step
    else:
        bars = BARS
        if not low < high:
            room = max(0.5, abs(low) / 1000)
            low, high = low - room, high + room
    inner = np.unique(np.linspace(low, high, bars + 1)[1:-1])
    held = spreads.masses(one.spread, inner)
    return Bars(low, high, tuple((held / held.sum()).tolist()))


def _whole(one: Numbers, span: tuple[float, float]) -> bool:
    """Whether values are whole numbers, as far as 24 of them and the ends tell."""
    some = spreads.quantiles(one.spread, [n / BARS for n in range(BARS + 1)])
    return all(value == round(value) and abs(value) < 2**52 for value in (*some.tolist(), *span))


def _ends(one: Numbers) -> tuple[float, float]:
    """From the first to the 99th hundredth: one value far out would leave all others one bar.

    Where the ends are not much further, they are the ends.
    """
    if one.low is None or one.high is None:
        return 0.0, 0.0
    low, high = spreads.quantiles(one.spread, [RANKS["p1"], RANKS["p99"]]).tolist()
    room = (high - low) or 1.0
    return (
        one.low if low - one.low <= room / 4 else low,
        one.high if one.high - high <= room / 4 else high,
    )


def _span(one: Statistics) -> tuple[float, ...]:
    match one.detail:
        case (Numbers() as numbers) | Vectors(norms=numbers) | Lists(lengths=numbers):
            return _ends(numbers) if numbers.finite else ()
    return ()


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
