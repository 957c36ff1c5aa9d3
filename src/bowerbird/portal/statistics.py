"""The page of a feature group's statistics: one HTML file that needs nothing else, and its JSON.

What failed comes first; then each column as it is, or beside the version before; then each figure
from partition to partition.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from bowerbird.data.features.figures import ColumnFigures, StatisticsView
from bowerbird.data.features.gates import passed
from bowerbird.data.features.verdicts import Verdict
from bowerbird.portal import bars, formats
from bowerbird.portal.report import environment
from bowerbird.stats import drift

MANY = 3_000
"""Of more columns of partitions than this, their tables are left out: the curves show them."""


def write_statistics(view: StatisticsView, folder: Path) -> Path:
    """Write `statistics.html` and `statistics.json` into a folder; the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "statistics.html"
    page.write_text(render(view), encoding="utf-8")
    kept = msgspec.json.format(msgspec.json.encode(view))
    (folder / "statistics.json").write_bytes(kept)
    return page


def render(
    view: StatisticsView, *, back: str = "", about: str = "", gates: Verdict | None = None
) -> str:
    """The page. back: where the application leads back to; about: what it is of; gates: what they
    say of it there, where it is shown by the application."""
    from markupsafe import Markup

    made = environment()
    made.filters.update(
        percent=percent,
        figure=figure,
        distinct=_distinct,
        missing=_missing,
        odd=oddities,
        shares_between=lambda values: between(values, percent),
        figures_between=lambda values: between(values, figure),
    )
    made.globals.update(
        histogram=lambda *given: Markup(bars.histogram(*given)),  # noqa: S704 - escaped there
        frequent=lambda *given: Markup(bars.frequent(*given)),  # noqa: S704
        trend=lambda *given: Markup(bars.trend(*given)),  # noqa: S704
    )
    shown = made.get_template("statistics.html.j2")
    return shown.render(
        view=view,
        back=back,
        about=about,
        gates=gates,
        bad=gates.failure is not None if gates else not passed(view.findings),
        verdict=gates.told if gates else verdict(view),
        trends=_trends(view),
        many=sum(len(part.columns) for part in view.parts) > MANY,
        large=drift.LARGE,
    )


def verdict(view: StatisticsView) -> str:
    """Whether it may be promoted, in a sentence."""
    failed = sum(not one.passed for one in view.findings)
    total = len(view.findings)
    if not total:
        return "Gates are asked when it is promoted, not here."
    if failed:
        return f"{failed} of {total} checks failed: not to be promoted as it is."
    return "The check passed." if total == 1 else f"All {total} checks passed."


def percent(value: float | None) -> str:
    """98.2 %; 100 % and 0 % are only what is all and nothing."""
    if value is None:
        return formats.NOTHING
    text = f"{value:.1%}"
    if text == "100.0%":
        text = "100%" if value == 1 else "> 99.9%"
    elif text == "0.0%":
        text = "0%" if value == 0 else "< 0.1%"
    return text.replace(" ", "").replace("%", "\N{NO-BREAK SPACE}%")


def between(values: list[float | None], show: Callable[[float | None], str]) -> str:
    """The least and the greatest of some figures."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = show(min(known)), show(max(known))
    return low if low == high else f"{low} to {high}"


def figure(value: float | None) -> str:
    """Four digits; whole numbers whole."""
    if value is None:
        return formats.NOTHING
    if value == int(value) and abs(value) < 1e9:
        return formats.count(value).replace("-", "\N{MINUS SIGN}")
    return f"{value:,.4g}".replace("-", "\N{MINUS SIGN}")


def oddities(one: ColumnFigures) -> list[str]:
    """What of a column is worth a line of its own."""
    told = []
    if one.numbers is not None and one.numbers.nan:
        told.append(f"{one.numbers.nan:,} NaN")
    if one.numbers is not None and one.numbers.infinite:
        told.append(f"{one.numbers.infinite:,} infinite")
    if len(one.dimensions) > 1:
        told.append(f"dimensions {', '.join(one.dimensions)}")
    if one.broken:
        told.append(f"{one.broken:,} vectors with a part that is no number")
    if one.zero:
        told.append(f"{one.zero:,} vectors of zeros")
    return told


def _distinct(one: ColumnFigures) -> str:
    found = one.names or one.numbers
    return formats.NOTHING if found is None else formats.count(found.distinct)


def _missing(one: ColumnFigures) -> str:
    return percent(one.nulls / one.rows) if one.rows else formats.NOTHING


class _Trend(msgspec.Struct, frozen=True):
    """A column's figures by partition, in the partitions' order."""

    column: ColumnFigures
    labels: list[str]
    coverage: list[float | None]
    middle: list[float | None]


def _trends(view: StatisticsView) -> list[_Trend]:
    if len(view.parts) < 2:
        return []
    labels = [part.part for part in view.parts]
    by_part = [{one.column: one for one in part.columns} for part in view.parts]
    found = []
    for column in view.columns:
        ones = [part.get(column.column) for part in by_part]
        found.append(
            _Trend(
                column,
                labels,
                [one.coverage if one else None for one in ones],
                [one.numbers.mean if one and one.numbers else None for one in ones],
            )
        )
    return found
