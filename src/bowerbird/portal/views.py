"""What the report of a run shows: one frozen value, the same for the page and for its JSON.

An empty tuple, or None, means that there is nothing of the kind; the page says so in its place. A
figure that could not be computed is None, never NaN: JSON has no NaN.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from bowerbird.core.runs import StepState
from bowerbird.discovery.neighbors.recall import RecallReport
from bowerbird.discovery.neighbors.tuning import Point
from bowerbird.discovery.serving.page import Page, Product, Purchase
from bowerbird.stats.intervals import Interval
from bowerbird.workspace.why import Reason


class Unit(StrEnum):
    """How a number is shown: 262.4 as it is, as `4 min 22 s`, as `262 B`, as `262.40×`."""

    PLAIN = "plain"
    SECONDS = "seconds"
    BYTES = "bytes"
    TIMES = "times"


class KeyNumber(msgspec.Struct, frozen=True):
    """A number worth a place at the top. note: a few words under it (what it is compared with)."""

    label: str
    value: float | int | str
    unit: Unit = Unit.PLAIN
    note: str = ""


class HouseholdView(msgspec.Struct, frozen=True):
    """A household: what it bought before `page.at`, newest first, and its page at that moment.

    about: why this one is shown, in a sentence. next_trip: what it then bought in its next trip;
    None when that is not known.
    """

    page: Page
    history: tuple[Purchase, ...]
    next_trip: tuple[Purchase, ...] | None = None
    about: str = ""

    @property
    def taken(self) -> frozenset[int]:
        """The products of the next trip."""
        return frozenset(one.product.product_id for one in self.next_trip or ())

    @property
    def missed(self) -> tuple[Product, ...]:
        """What the next trip bought that was not on the page, each once."""
        shown = {item.product.product_id for item in self.page.items}
        bought = {one.product.product_id: one.product for one in self.next_trip or ()}
        return tuple(product for number, product in bought.items() if number not in shown)

    @property
    def found(self) -> int:
        """How many products of the next trip were on the page."""
        return len(self.taken) - len(self.missed)


class Protocol(StrEnum):
    """How models are judged: a list a trip, or one list a household for the 28 days after."""

    TRIP = "trip"
    HOUSEHOLD = "household"


class Scope(StrEnum):
    """Which products count: all, or those that the household never bought before."""

    ALL = "all"
    NEW = "new"


class Role(StrEnum):
    BASELINE = "baseline"
    OURS = "ours"


class ModelRow(msgspec.Struct, frozen=True):
    """A model under one protocol. difference and ratio: to the comparison's best baseline."""

    model: str
    role: Role
    ndcg: Interval
    difference: Interval | None = None
    ratio: Interval | None = None


class Comparison(msgspec.Struct, frozen=True):
    """Models judged on the same requests. best_baseline: the name of a row.

    requests: trips or households that were judged. households: how many they belong to.
    """

    protocol: Protocol
    scope: Scope
    best_baseline: str
    rows: tuple[ModelRow, ...]
    requests: int = 0
    households: int = 0

    @property
    def baseline(self) -> ModelRow | None:
        return next((row for row in self.rows if row.model == self.best_baseline), None)


class AblationRow(msgspec.Struct, frozen=True):
    """A variant of the model, and its difference to the variant that all are compared with.

    difference is None for that variant itself.
    """

    variant: str
    ndcg: Interval
    difference: Interval | None = None


class Ablation(msgspec.Struct, frozen=True):
    """Variants judged on the same requests. against: the variant that they are compared with.

    finding: what it shows, in a sentence.
    """

    protocol: Protocol
    scope: Scope
    against: str
    rows: tuple[AblationRow, ...]
    finding: str = ""


class Verdict(StrEnum):
    """SURELY: the whole interval is at the goal or beyond. REACHED: the estimate is, but the
    interval goes below. MISSED: the estimate is below. UNKNOWN: not measured."""

    SURELY = "surely"
    REACHED = "reached"
    MISSED = "missed"
    UNKNOWN = "unknown"


class Goal(msgspec.Struct, frozen=True):
    """A ratio that was wanted before it was measured. against: the baseline's name."""

    protocol: Protocol
    scope: Scope
    against: str
    wanted: float
    reached: Interval | None = None

    @property
    def verdict(self) -> Verdict:
        if self.reached is None:
            return Verdict.UNKNOWN
        if self.reached.estimate < self.wanted:
            return Verdict.MISSED
        return Verdict.SURELY if self.reached.low >= self.wanted else Verdict.REACHED


class Series(msgspec.Struct, frozen=True):
    """A line: its value after epoch 1, 2, …; None where nothing was measured.

    kept: the epoch whose weights were kept, when that is not the last.
    """

    name: str
    values: tuple[float | None, ...]
    kept: int | None = None


class CurvePlot(msgspec.Struct, frozen=True):
    """Lines that share an axis: all losses, or one metric of several models."""

    title: str
    series: tuple[Series, ...]
    lower_is_better: bool = False


class NeighborsView(msgspec.Struct, frozen=True):
    """What was tried (`Choice.points()`), what was chosen, and what the published store holds.

    k: of the recall. shortfall: what the chosen index lacks, when none was good enough.
    """

    points: tuple[Point, ...]
    target_recall: float
    k: int
    items: int = 0
    queries: int = 0
    shortfall: str | None = None
    published: RecallReport | None = None

    @property
    def chosen(self) -> Point | None:
        return next((point for point in self.points if point.chosen), None)


class StepView(msgspec.Struct, frozen=True):
    """A step of the run. begin: seconds after the run began. bytes and rows: what it committed.

    A measure that was not taken is None, never 0.
    """

    name: str
    state: StepState = StepState.DONE
    ref: str = ""
    begin: float | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_bytes: int | None = None
    bytes: int | None = None
    rows: int | None = None


class CostView(msgspec.Struct, frozen=True):
    """What the run cost. seconds: from its begin to its end (steps may overlap)."""

    steps: tuple[StepView, ...] = ()
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_bytes: int | None = None
    bytes: int | None = None
    budget_seconds: float = 360.0
    budget_bytes: int = 5 * 2**30


class Facts(msgspec.Struct, frozen=True):
    """Where the figures come from. versions: of Python, of Bowerbird and of libraries, by name."""

    run: str
    at: datetime
    machine: str
    cores: int
    memory_bytes: int
    threads: int
    seed: int
    versions: dict[str, str] = {}
    command: str = ""
    data: str = ""


class ReportView(msgspec.Struct, frozen=True):
    """The whole report.

    summary: what was done, in one paragraph. lineage: from what is live back to table snapshots.
    """

    title: str
    summary: str
    numbers: tuple[KeyNumber, ...] = ()
    households: tuple[HouseholdView, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    ablations: tuple[Ablation, ...] = ()
    goals: tuple[Goal, ...] = ()
    training: tuple[CurvePlot, ...] = ()
    neighbors: NeighborsView | None = None
    cost: CostView = CostView()
    lineage: tuple[Reason, ...] = ()
    facts: Facts | None = None
