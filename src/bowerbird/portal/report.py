"""The report of a run: one HTML file that needs nothing else, and the same view as JSON.

`write_report` is all that a caller needs. What is beside what is decided in `templates/`, in the
visual language of the feed's own pages, whose style sheet and icons are used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.portal import formats, plots
from bowerbird.portal.views import (
    AblationRow,
    Comparison,
    Goal,
    Protocol,
    ReportView,
    Scope,
    Verdict,
)

if TYPE_CHECKING:
    import jinja2

_PROTOCOLS = {
    Protocol.TRIP: "Per trip",
    Protocol.HOUSEHOLD: "Per household, 28 days",
}
_EXPLAINED = {
    Protocol.TRIP: "One list for each trip, made from what was known before it; right is what the "
    "trip then bought.",
    Protocol.HOUSEHOLD: "One list for each household; right is what it bought in the 28 days "
    "after.",
}
_SCOPES = {
    Scope.ALL: "All products",
    Scope.NEW: "Discovery: never bought before",
}
_VERDICTS = {
    Verdict.SURELY: "reached",
    Verdict.REACHED: "reached, not surely",
    Verdict.MISSED: "not reached",
    Verdict.UNKNOWN: "not measured",
}


def write_report(view: ReportView, folder: Path) -> Path:
    """Write `report.html` and `report.json` into a folder; the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(render(view), encoding="utf-8")
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(view)))
    return page


def render(view: ReportView) -> str:
    """The page."""
    return environment().get_template("report.html.j2").render(view=view, verdict=verdict(view))


def verdict(view: ReportView) -> str:
    """How many of the goals were reached, in a sentence that hides none that was not."""
    if not view.goals:
        return ""
    by = {kind: [one for one in view.goals if one.verdict is kind] for kind in Verdict}
    reached = len(by[Verdict.SURELY]) + len(by[Verdict.REACHED])
    total = len(view.goals)
    said = (
        f"All {total} targets were reached"
        if reached == total > 1
        else f"{reached} of {total} targets {'was' if reached == 1 else 'were'} reached"
    )
    parts = [said]
    if by[Verdict.REACHED]:
        names = _named(by[Verdict.REACHED])
        parts.append(f"Reached but not surely (the interval begins below the target): {names}")
    if by[Verdict.MISSED]:
        parts.append(f"Not reached: {_named(by[Verdict.MISSED])}")
    if by[Verdict.UNKNOWN]:
        parts.append(f"Not measured: {_named(by[Verdict.UNKNOWN])}")
    return ". ".join(parts) + "."


def _named(goals: list[Goal]) -> str:
    scopes = {Scope.ALL: "all products", Scope.NEW: "discovery"}
    return "; ".join(f"{scopes[one.scope]} per {one.protocol.value}" for one in goals)


def _defined(definition: str, ref: str) -> str:
    """A definition without the kind, where the ref has said that already."""
    kind, _, rest = definition.partition(", ")
    return rest if kind.lower() == ref.partition(":")[0].replace("_", "") else definition


def _short(token: str) -> str:
    """A version or a token (run/step) that fits a line: what tells it from its neighbours."""
    run, slash, step = token.rpartition("/")
    if slash and len(run) > 12:
        return f"…{run[-8:]}/{step}"
    return token if len(token) <= 16 else f"…{token[-12:]}"


def _comparison_scale(comparison: Comparison) -> plots.Scale:
    return plots.interval_scale([row.ndcg for row in comparison.rows], 0.0)


def _difference_scale(rows: tuple[AblationRow, ...]) -> plots.Scale:
    return plots.interval_scale([row.difference for row in rows if row.difference], 0.0)


def _goal_scale(goals: tuple[Goal, ...]) -> plots.Scale:
    marks = [one.wanted for one in goals]
    return plots.interval_scale([one.reached for one in goals if one.reached], 1.0, *marks)


def environment() -> jinja2.Environment:
    """The pages' templates, with how figures and plots are written in them."""
    from markupsafe import Markup

    from bowerbird.discovery import serving
    from bowerbird.discovery.serving.views import hue, trips
    from bowerbird.http import pages

    def drawn(plot: Callable[..., str]) -> Callable[..., Markup]:
        """Plots escape what they are given themselves."""
        return lambda *given, **named: Markup(plot(*given, **named))  # noqa: S704

    folders = [Path(__file__).parent, Path(serving.__file__).parent]
    environment = pages.environment(*(folder / "templates" for folder in folders))
    filters: dict[str, Callable[..., Any]] = {
        name: getattr(formats, name)
        for name in ("score", "signed", "times", "share", "count", "duration", "size", "amount")
    }
    environment.filters.update(
        filters,
        day=formats.day,
        moment=formats.moment,
        hue=hue,
        protocol=_PROTOCOLS.__getitem__,
        explained=_EXPLAINED.__getitem__,
        scope=_SCOPES.__getitem__,
        verdict=_VERDICTS.__getitem__,
        trips=trips,
        kind=lambda ref: ref.partition(":")[0] if ":" in ref else "",
        name=lambda ref: ref.partition(":")[2] or ref,
        short=_short,
        defined=_defined,
    )
    environment.globals.update(
        whisker=drawn(plots.whisker),
        axis=drawn(plots.axis),
        bar=drawn(plots.bar),
        meter=drawn(plots.meter),
        curves=drawn(plots.curves),
        scatter=drawn(plots.scatter),
        families=plots.families,
        comparison_scale=_comparison_scale,
        difference_scale=_difference_scale,
        goal_scale=_goal_scale,
        formats=formats,
    )
    return environment
