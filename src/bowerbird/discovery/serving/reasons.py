"""Reasons: what a person is told about why an item is there, from the evidence that found it.

Only what the evidence says: a reason names the purchase, the date or the store that it rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from bowerbird.discovery.serving.page import Reason, ReasonKind

_MONTHS = "January February March April May June July August September October November December"


def reasons(
    candidate: Mapping[str, Any], name_of: Callable[[int], str], at: datetime
) -> tuple[Reason, ...]:
    """Every reason for a candidate (a row of `union`), the strongest first; at least one."""
    told = [_habit(candidate, at), _goes_with(candidate, name_of, at), _promoted(candidate)]
    if candidate.get("popular_score") is not None or not any(told):
        told.append(Reason(ReasonKind.POPULAR, "Popular now"))
    order = list(ReasonKind)
    return tuple(sorted((one for one in told if one), key=lambda one: order.index(one.kind)))


def _habit(candidate: Mapping[str, Any], at: datetime) -> Reason | None:
    bought, last = candidate.get("bought"), candidate.get("last_at")
    if not bought or last is None:
        return None
    if bought == 1:
        return Reason(ReasonKind.BOUGHT_ONCE, f"You bought this on {_date(last, at)}")
    every = candidate.get("every_days")
    how_often = f"about {_interval(every)}" if every else f"{bought} times so far"
    lapsed = every and (at - last) / timedelta(days=1) > 3 * max(every, 7)
    verb = "used to buy" if lapsed else "buy"
    return Reason(ReasonKind.HABIT, f"You {verb} this {how_often}; last {_ago(last, at)}")


def _goes_with(
    candidate: Mapping[str, Any], name_of: Callable[[int], str], at: datetime
) -> Reason | None:
    product, when = candidate.get("neighbor_of"), candidate.get("neighbor_of_at")
    if product is None or when is None or product == candidate.get("product_id"):
        return None
    name, day = name_of(product), _date(when, at)
    if name == name_of(candidate["product_id"]):
        return Reason(ReasonKind.GOES_WITH, f"Another of the kind you bought on {day}")
    text = f"Goes with {name}, which you bought on {day}"
    return Reason(ReasonKind.GOES_WITH, text)


def _promoted(candidate: Mapping[str, Any]) -> Reason | None:
    placement = candidate.get("placement")
    if not placement:
        return None
    where = "In your store's mailer" if placement == "mailer" else "On display in your store"
    return Reason(ReasonKind.PROMOTED, f"{where} this week")


def _interval(days: float) -> str:
    if days < 1.5:
        return "every day"
    if days < 28:
        return f"every {round(days)} days"
    if days < 60:
        return f"every {round(days / 7)} weeks"
    return f"every {round(days / 30.4)} months"


def _ago(then: datetime, now: datetime) -> str:
    days = (now.date() - then.date()).days
    if days < 1:
        return "today"
    if days == 1:
        return "yesterday"
    if days < 60:
        return f"{days} days ago"
    return f"{round(days / 30.4)} months ago"


def _date(then: datetime, now: datetime) -> str:
    year = "" if then.year == now.year else f" {then.year}"
    return f"{then.day} {_MONTHS.split()[then.month - 1]}{year}"
