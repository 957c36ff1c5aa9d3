"""Figures as people read them: the same everywhere on a page, `–` where there is none."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

from bowerbird.portal.views import Unit

NOTHING = "–"
_MINUS = "\N{MINUS SIGN}"
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def score(value: float | None) -> str:
    """0.2390"""
    return NOTHING if _absent(value) else f"{value:.4f}"


def signed(value: float | None) -> str:
    """+0.0257, −0.0011, 0.0000"""
    if value is None or _absent(value):
        return NOTHING
    text = f"{abs(value):.4f}"
    if not float(text):
        return text
    return f"{'+' if value > 0 else _MINUS}{text}"


def times(value: float | None) -> str:
    """1.120×: three digits, so that 1.096 does not read as the 1.10 that it misses."""
    return NOTHING if _absent(value) else f"{value:.3f}×"


def share(value: float | None) -> str:
    """0.983"""
    return NOTHING if _absent(value) else f"{value:.3f}"


def count(value: float | None) -> str:
    """1,469,307"""
    return NOTHING if _absent(value) else f"{value:,.0f}"


def tick(value: float) -> str:
    """0, 0.05, −0.01: under an axis."""
    return f"{value:.4g}".replace("-", _MINUS) if abs(value) > 1e-12 else "0"


def short_count(value: float) -> str:
    """950, 12k, 1.2M: for axes."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """340 ms, 8.2 s, 4 min 22 s, 6 min, 1 h 05 min"""
    if seconds is None or _absent(seconds):
        return NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: float | None) -> str:
    """512 B, 14.2 MiB, 3.10 GiB, 5 GiB"""
    if value is None or _absent(value):
        return NOTHING
    power = 0
    while abs(value) >= 1023.5 and power < len(_BINARY) - 1:
        value, power = value / 1024, power + 1
    digits = 0 if value == int(value) or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f} {_BINARY[power]}"


def amount(value: float | int | str, unit: Unit) -> str:
    """A key number in its unit; a text is shown as it is."""
    if isinstance(value, str):
        return value
    if unit is Unit.SECONDS:
        return duration(value)
    if unit is Unit.BYTES:
        return size(value)
    if unit is Unit.TIMES:
        return times(value)
    if _absent(value):
        return NOTHING
    return count(value) if float(value).is_integer() else f"{value:.4g}"


def day(at: date) -> str:
    """3 Dec 2017"""
    return f"{at.day} {at:%b %Y}"


def moment(at: datetime) -> str:
    """3 Dec 2017, 17:00 UTC"""
    if at.tzinfo is not None:
        at = at.astimezone(UTC)
    return f"{day(at)}, {at:%H:%M} UTC"


def _absent(value: float | None) -> bool:
    return value is None or not math.isfinite(value)
