"""Plots of how values are distributed, and how a figure went from partition to partition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from bowerbird.data.features.figures import Bars, NameFigures
from bowerbird.portal.formats import count, tick
from bowerbird.portal.plots import drawing, percent, spanning

HEIGHT = 56
RARE = 0.005
"""Where no name has more than this share, which ones come first says nothing."""


def histogram(after: Bars | None, before: Bars | None = None, height: int = HEIGHT) -> str:
    """Bars of one version; of the version before, an outline over them."""
    known = [one for one in (after, before) if one is not None and one.shares]
    most = max((max(one.shares) for one in known), default=0.0)
    if not known or not most:
        return ""
    parts = [_axis(height)]
    if after is not None:
        parts += _boxes(after, most, height)
    if before is not None:
        parts.append(_outline(before, most, height))
    ends = _ends(known[0], height)
    return drawing([*parts, *ends], height + 16, "plot bars")


def frequent(after: NameFigures | None, before: NameFigures | None = None, most: int = 5) -> str:
    """The most frequent names, a bar each; of the version before, a mark on it."""
    named = [one for one in (after, before) if one is not None]
    rows = list(dict.fromkeys(name for one in named for name, _ in one.top))[:most]
    shares = [_shares(one) for one in (after, before)]
    top = max((share.get(name, 0.0) for share in shares for name in rows), default=0.0)
    if top < RARE:
        return ""
    parts = []
    for place, name in enumerate(rows):
        y, now = 18 * place, shares[0].get(name, 0.0)
        parts.append(_box(0, now / top * 0.55, y + 3, 11, "bar", f"{name}: {now:.1%}"))
        if before is not None:
            at = percent(shares[1].get(name, 0.0) / top * 0.55)
            parts.append(f'<line class="was" x1="{at}" x2="{at}" y1="{y + 1}" y2="{y + 16}"/>')
        text = name if len(name) <= 18 else name[:17] + "…"
        parts.append(
            f'<text class="tick" x="58%" y="{y + 13}">{escape(text or "(empty)")} '
            f'<tspan class="share">{now:.1%}</tspan></text>'
        )
    return drawing(parts, 18 * len(rows), "plot bars names")


def trend(values: Sequence[float | None], labels: Sequence[str]) -> str:
    """A figure from partition to partition; a gap where there is none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ""
    height, up = 28, spanning(known, room=0.15)
    step = 1 / max(len(values) - 1, 1)
    places = [
        (n * step, height * (1 - up.at(value)), f"{labels[n]}: {tick(value)}")
        if value is not None and math.isfinite(value)
        else None
        for n, value in enumerate(values)
    ]
    parts = [
        f'<line class="curve" x1="{percent(one[0])}" y1="{one[1]:.4g}" '
        f'x2="{percent(other[0])}" y2="{other[1]:.4g}"/>'
        for one, other in pairwise(places)
        if one is not None and other is not None
    ]
    parts += [
        f'<circle class="dot" cx="{percent(one[0])}" cy="{one[1]:.4g}" r="2.4">'
        f"<title>{escape(one[2])}</title></circle>"
        for one in places
        if one is not None and len(values) <= 31  # more dots would be one band
    ]
    return drawing(parts, height, "plot trend")


def _shares(one: NameFigures | None) -> dict[str, float]:
    if one is None or not one.values:
        return {}
    return {name: count / one.values for name, count in one.top}


def _boxes(bars: Bars, most: float, height: int) -> list[str]:
    width = 1 / len(bars.shares)
    step = (bars.high - bars.low) * width
    return [
        _box(
            n * width + width * 0.06,
            width * 0.88,
            height * (1 - share / most),
            height * share / most,
            "bar",
            f"{tick(bars.low + n * step)} to {tick(bars.low + (n + 1) * step)}: {share:.1%}",
        )
        for n, share in enumerate(bars.shares)
        if share
    ]


def _outline(bars: Bars, most: float, height: int) -> str:
    """Steps along the tops. Without a viewBox a path has no percentages, so: lines."""
    width = 1 / len(bars.shares)
    tops = [height * (1 - share / most) for share in bars.shares]
    flat = [
        f'<line class="was" x1="{percent(n * width)}" x2="{percent((n + 1) * width)}" '
        f'y1="{top:.4g}" y2="{top:.4g}"/>'
        for n, top in enumerate(tops)
    ]
    upright = [
        f'<line class="was" x1="{percent(n * width)}" x2="{percent(n * width)}" '
        f'y1="{one:.4g}" y2="{other:.4g}"/>'
        for n, (one, other) in enumerate(pairwise([height, *tops, height]))
    ]
    return "".join(flat + upright)


def _box(x: float, width: float, y: float, height: float, css: str, tip: str) -> str:
    return (
        f'<rect class="{css}" x="{percent(x)}" width="{percent(width)}" y="{y:.4g}" '
        f'height="{height:.4g}" rx="1.5"><title>{escape(tip)}</title></rect>'
    )


def _axis(height: int) -> str:
    return f'<line class="grid" x1="0" x2="100%" y1="{height}" y2="{height}"/>'


def _ends(bars: Bars, height: int) -> list[str]:
    """The first and the last value under the bars."""
    y = height + 13
    whole = all(end == round(end) + 0.5 or end == round(end) - 0.5 for end in (bars.low, bars.high))
    low, high = (bars.low + 0.5, bars.high - 0.5) if whole else (bars.low, bars.high)
    if low == high:
        return [f'<text class="tick" x="50%" y="{y}" text-anchor="middle">{tick(low)}</text>']
    return [
        f'<text class="tick" x="0" y="{y}">{_end(low)}</text>',
        f'<text class="tick" x="100%" y="{y}" text-anchor="end">{_end(high)}</text>',
    ]


def _end(value: float) -> str:
    return count(value) if abs(value) >= 10_000 else tick(value)
