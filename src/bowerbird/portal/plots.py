"""Plots as inline SVG, by hand: they need no script, follow the page's colours, and stretch.

Across, places are percentages and down, pixels, with no viewBox: a plot fills its box at any width
while dots stay round and labels keep their size. What stands outside of the axes (labels) overflows
into the padding that the style sheet gives to the box. All text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from bowerbird.discovery.neighbors.tuning import Point
from bowerbird.portal.formats import count, short_count, size
from bowerbird.portal.views import CurvePlot, NeighborsView, Series
from bowerbird.stats.intervals import Interval

ROW = 26  # height of a plot that is a table's cell
COLORS = 6  # how many the style sheet has: .c0, .c1, …


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places: 0 is the axis's begin, 1 its end. Values outside go to the edge."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (
            (math.log10(v) for v in (self.low, self.high, max(value, self.low)))
            if self.log
            else (self.low, self.high, value)
        )
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside of the scale."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            decades = math.log10(self.high / self.low)
            steps = (1, 3) if decades < about - 1 else (1,)
            every = [step * 10.0**power for power in powers for step in steps]
            # At this end or that, a value may be off by rounding.
            return [v for v in every if self.low * 0.999 <= v <= self.high * 1.001]
        step = _round_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def spanning(values: Iterable[float], *, room: float = 0.06) -> Scale:
    """A scale over some values, with a little room at the ends that are not zero."""
    found = [value for value in values if math.isfinite(value)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 10, high + (abs(high) or 1.0) / 10
    margin = (high - low) * room
    return Scale(low if low == 0 else low - margin, high if high == 0 else high + margin)


def log_spanning(values: Iterable[float]) -> Scale:
    """A logarithmic scale over the values above zero, its ends at 1, 2 or 5 times a power of 10."""
    found = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    low, high = _round_down(min(found)), _round_up(max(found))
    return Scale(low, high if high > low else low * 10, log=True)


def interval_scale(intervals: Iterable[Interval], *marks: float) -> Scale:
    """One scale for the rows of a table, which has room for all of them and for the marks."""
    ends = [end for one in intervals for end in (one.low, one.high, one.estimate)]
    return spanning([*ends, *marks])


def whisker(one: Interval | None, scale: Scale, css: str, mark: float | None = None) -> str:
    """An estimate and its interval as a row of a table; `mark`: a line down all the rows."""
    parts = [_down(scale.at(tick), ROW, "grid") for tick in scale.ticks(4)]
    if mark is not None and math.isfinite(mark):
        parts.append(_down(scale.at(mark), ROW, "mark"))
    if one is not None and all(map(math.isfinite, (one.estimate, one.low, one.high))):
        low, high = scale.at(one.low), scale.at(one.high)
        parts.append(_line(low, ROW / 2, high, ROW / 2, "whisker"))
        parts += [_line(end, ROW / 2 - 4, end, ROW / 2 + 4, "whisker") for end in (low, high)]
        parts.append(_dot(scale.at(one.estimate), ROW / 2, 4.5, "dot"))
    return drawing(parts, ROW, f"row {css}")


def axis(scale: Scale, show: Callable[[float], str]) -> str:
    """The values under such rows."""
    parts = []
    for tick in scale.ticks(4):
        place = scale.at(tick)
        anchor = "end" if place > 0.97 else "middle"  # a label at the edge stays inside
        parts.append(_text(place, 13, show(tick), "tick", anchor=anchor))
    return drawing(parts, 16, "row")


def bar(begin: float | None, length: float | None, total: float) -> str:
    """When a step ran, of the run's whole time."""
    if length is None or not total > 0:
        return drawing([], 14, "row")
    start = min(max((begin or 0.0) / total, 0.0), 1.0)
    wide = min(max(length / total, 0.0), 1.0 - start)
    at = percent(start)
    box = f'<rect class="step" x="{at}" width="{percent(wide)}" y="2" height="10" rx="2"/>'
    dot = f'<rect class="step" x="{at}" width="2" y="2" height="10"/>'
    return drawing([box, dot], 14, "row")


def meter(used: float, budget: float) -> str:
    """What was used of a budget, which is a line when it was passed."""
    whole = max(used, budget) or 1.0
    over = used > budget
    css, wide = "over" if over else "step", percent(used / whole)
    parts = [
        '<rect class="track" width="100%" y="3" height="10" rx="5"/>',
        f'<rect class="{css}" width="{wide}" y="3" height="10" rx="5"/>',
    ]
    if over:
        parts.append(_line(budget / whole, 0, budget / whole, 16, "limit"))
    return drawing(parts, 16, "row")


def curves(plot: CurvePlot, height: int = 190) -> str:
    """Lines by epoch, each named at its end."""
    lines = [line for line in plot.series if _known(line.values)]
    if not lines:
        return ""
    across = Scale(1, max(max(len(line.values) for line in lines), 2))
    up = spanning((v for line in lines for v in _known(line.values)), room=0.1)
    parts = []
    for tick in up.ticks(7):
        y = height * (1 - up.at(tick))
        parts.append(_line(0, y, 1, y, "grid"))
        parts.append(_text(0, y + 4, f"{tick:.6g}", "tick", anchor="end", dx=-8))
    for epoch in (tick for tick in across.ticks(6) if tick == int(tick)):
        place = across.at(epoch)
        parts.append(_text(place, height + 18, f"{epoch:.0f}", "tick", anchor="middle"))
    parts.append(_text(1, height + 18, "epoch", "tick", dx=12))
    ends = []
    for number, line in enumerate(lines):
        ends.append(_end(line, up, height))
        parts.append(f'<g class="c{number % COLORS}">{_curve(line, across, up, height)}</g>')
    for number, (line, y) in enumerate(zip(lines, apart(ends, 34, 8, height - 20), strict=True)):
        words = _text(1, y + 2, line.name, "name", dx=12)
        words += _text(1, y + 16, f"{_known(line.values)[-1]:.4f}", "value", dx=12)
        parts.append(f'<g class="c{number % COLORS}">{words}</g>')
    return drawing(parts, height, "plot curves", plot.title)


def scatter(view: NeighborsView, height: int = 320) -> str:
    """Recall against queries a second, every index that was tried; the chosen one is marked."""
    if not view.points:
        return ""
    plane = _Plane(
        across=log_spanning(point.queries_per_second for point in view.points),
        up=_recall_scale([*(point.recall for point in view.points), view.target_recall]),
        height=height,
    )
    parts = plane.ticks()
    target = plane.y(view.target_recall)
    parts.append(_line(0, target, 1, target, "mark"))
    wanted = f"wanted: {view.target_recall:g}"
    parts.append(_text(0, target + 15, wanted, "tick strong", dx=6))
    best = sorted((p for p in view.points if p.frontier), key=lambda p: p.queries_per_second)
    for one, other in pairwise(best):
        parts.append(_line(*plane.place(one), *plane.place(other), "frontier"))
    names = families(view.points)
    for point in sorted(view.points, key=lambda p: (p.chosen, p.frontier)):
        x, y = plane.place(point)
        tip = (
            f"{point.label}: recall {point.recall:.3f}, {count(point.queries_per_second)} "
            f"queries/s, {size(point.bytes)}; {point.reason}"
        )
        if point.chosen:
            parts.append(_dot(x, y, 10, "ring"))
        css = f"try c{names.index(family(point)) % COLORS}" + (" best" if point.frontier else "")
        parts.append(_dot(x, y, 5 if point.frontier or point.chosen else 4, css, tip))
    if view.chosen is not None:
        parts.append(_chosen(view.chosen, [plane.place(point) for point in view.points], plane))
    return drawing(parts, height, "plot scatter", "Recall against queries per second")


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where a point of recall and speed is. Up is stretched towards 1: the tenth part of the misses
    is always as far up, because .99 is to .9 what .9 is to 0."""

    across: Scale
    up: Scale
    height: int

    def place(self, point: Point) -> tuple[float, float]:
        return self.across.at(point.queries_per_second), self.y(point.recall)

    def y(self, recall: float) -> float:
        return self.height * (1 - self.up.at(_stretched(recall)))

    def ticks(self) -> list[str]:
        parts = []
        for recall in (0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1):
            if _stretched(recall) >= self.up.low:
                y = self.y(recall)
                parts.append(_line(0, y, 1, y, "grid"))
                parts.append(_text(0, y + 4, f"{recall:g}", "tick", anchor="end", dx=-8))
        for speed in self.across.ticks(6):
            x = self.across.at(speed)
            parts.append(_down(x, self.height, "grid"))
            parts.append(_text(x, self.height + 18, short_count(speed), "tick", anchor="middle"))
        return parts


_FEWEST_MISSES = 0.001  # what is above 1 - this is drawn at 1


def _stretched(recall: float) -> float:
    return -math.log10(max(1 - recall, _FEWEST_MISSES))


def _recall_scale(recalls: Iterable[float]) -> Scale:
    low = min(_stretched(recall) for recall in recalls)
    high = _stretched(1.0)
    return Scale(min(low - 0.05, high - 1), high)


def _chosen(point: Point, dots: Sequence[tuple[float, float]], plane: _Plane) -> str:
    """The name of the chosen one, in two lines, where it covers the fewest dots.

    A plot stretches, so a place is judged as if the plot were as wide as on a telephone, then as on
    a desk.
    """
    x, y = plane.place(point)
    sides = [(anchor, y + down) for down in (-22, 24) for anchor in ("start", "end")]

    def covered(anchor: str, top: float) -> int:
        worse = 0
        for pixels in (270, 900):
            reach, width = 12 / pixels, 7.2 * len(point.label) / pixels
            left = x + reach if anchor == "start" else x - reach - width
            outside = left < 0 or left + width > 1 or not 0 < top < plane.height - 15
            hit = sum(left < a < left + width and -14 < b - top < 22 for a, b in dots)
            worse += hit + 100 * outside
        return worse

    anchor, top = min(sides, key=lambda side: covered(*side))
    dx = 12 if anchor == "start" else -12
    return _text(x, top, "chosen", "tick strong", anchor=anchor, dx=dx) + _text(
        x, top + 14, point.label, "chosen", anchor=anchor, dx=dx
    )


def family(point: Point) -> str:
    """What kind of index a point is: what its label begins with (IVF128,SQ8 is IVF SQ8)."""
    kind, _, codes = point.label.split(" ", 1)[0].partition(",")
    return " ".join(part for part in (kind.rstrip("0123456789"), codes) if part)


def families(points: Iterable[Point]) -> list[str]:
    """The kinds among the points, by name: a kind's place is its colour."""
    return sorted({family(point) for point in points})


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places moved as little as it takes to lie a gap apart, in their order, above `low`.

    Between `low` and `high` where they fit; labels that do not fit keep the gap and run over.
    """
    order = sorted(range(len(places)), key=lambda n: places[n])
    found = list(places)
    floor = low
    for n in order:
        found[n] = max(found[n], floor)
        floor = found[n] + gap
    ceiling = high
    for n in reversed(order):
        found[n] = min(found[n], ceiling)
        ceiling = found[n] - gap
    if order and (short := low - found[order[0]]) > 0:
        found = [place + short for place in found]
    return found


def _curve(line: Series, across: Scale, up: Scale, height: int) -> str:
    points = [
        (across.at(epoch), height * (1 - up.at(value)), epoch)
        for epoch, value in enumerate(line.values, 1)
        if value is not None and math.isfinite(value)
    ]
    parts = [_line(*one[:2], *other[:2], "curve") for one, other in pairwise(points)]
    parts += [
        _dot(x, y, 2.5, "dot", f"{line.name}, epoch {epoch}: {line.values[epoch - 1]:.4f}")
        for x, y, epoch in points
    ]
    kept = next((point for point in points if point[2] == line.kept), None)
    if kept:
        parts.append(_dot(kept[0], kept[1], 6, "ring", f"{line.name}: epoch {line.kept} was kept"))
    return "".join(parts)


def _end(line: Series, up: Scale, height: int) -> float:
    return height * (1 - up.at(_known(line.values)[-1]))


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def drawing(parts: Iterable[str], height: float, css: str, title: str = "") -> str:
    """Parts as one plot; without a title it says nothing to who hears the page."""
    about = f'role="img" aria-label="{escape(title)}"' if title else 'aria-hidden="true"'
    return f'<svg class="{css}" width="100%" height="{height:g}" {about}>{"".join(parts)}</svg>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return (
        f'<line class="{css}" x1="{percent(x1)}" y1="{y1:.5g}" x2="{percent(x2)}" y2="{y2:.5g}"/>'
    )


def _down(x: float, height: float, css: str) -> str:
    return _line(x, 0, x, height, css)


def _dot(x: float, y: float, radius: float, css: str, tip: str = "") -> str:
    told = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<circle class="{css}" cx="{percent(x)}" cy="{y:.5g}" r="{radius:g}">{told}</circle>'


def _text(x: float, y: float, text: str, css: str, *, anchor: str = "start", dx: int = 0) -> str:
    return (
        f'<text class="{css}" x="{percent(x)}" y="{y:.5g}" dx="{dx}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def percent(place: float) -> str:
    """A place across, 0 to 1."""
    return f"{100 * place:.4g}%"


def _round_step(rough: float) -> float:
    """The step of 1, 2 or 5 times a power of 10 that is nearest from above."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * 1.001)


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return min(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)
