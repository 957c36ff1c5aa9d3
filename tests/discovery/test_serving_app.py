"""Claims about the feed server, over the real application."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import HTTPException, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.discovery.serving import (
    Page,
    PageItem,
    Product,
    Purchase,
    Reason,
    ReasonKind,
    Related,
    RelatedItem,
    SourceScore,
    checked_k,
)
from bowerbird.discovery.serving.app import create_app

AT = datetime(2026, 3, 20, 12, tzinfo=UTC)
MILK = Product(7, "Milk <b>whole</b>", "Dairy & eggs", "1 gallon")


class OneHousehold:
    """A feed of one household and one product; `broken` fails on every call."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken

    def page(self, household: int, k: int) -> Page:
        self._check()
        item = PageItem(
            position=1,
            product=MILK,
            score=0.25,
            reasons=(
                Reason(ReasonKind.HABIT, "You buy this about every 4 days; last 3 days ago"),
                Reason(ReasonKind.POPULAR, "Popular now"),
            ),
            sources=(SourceScore("habit", 2.0),),
            features={"bought": 12},
        )
        degraded = () if household == 1 else ("history",)
        return Page(household, AT, (item,) * min(checked_k(k), 1), 1, degraded=degraded)

    def related(self, product: int, k: int) -> Related | None:
        self._check()
        return Related(MILK, (RelatedItem(1, MILK, 0.5),)) if product == 7 else None

    def households(self) -> Sequence[int]:
        self._check()
        return [1]

    def history(self, household: int, n: int) -> Sequence[Purchase]:
        return [Purchase(MILK, AT)] if household == 1 else []

    def _check(self) -> None:
        if self.broken:
            raise RuntimeError("secret: the store is gone")


class Client:
    """The application behind a real HTTP client, without a socket."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def get(self, url: str | httpx.URL, **rest: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://testserver"
            ) as asking:
                return await asking.get(url, **rest)

        return asyncio.run(ask())


def client(feed: Any = None, authorise: Any = None) -> Client:
    return Client(create_app(feed or OneHousehold(), authorise))


def test_a_feed_is_served_as_json() -> None:
    got = client().get("/v1/feed", params={"household": 1, "k": 5})
    assert got.status_code == 200
    page = got.json()
    assert page["items"][0]["product"]["name"] == "Milk <b>whole</b>"
    assert page["items"][0]["reasons"][0]["kind"] == "habit"
    assert page["degraded"] == []
    assert "total;dur=" in got.headers["server-timing"]


def test_related_products_are_served_and_an_unknown_product_is_not_found() -> None:
    assert client().get("/v1/related?product=7").json()["items"][0]["score"] == 0.5
    got = client().get("/v1/related?product=8")
    assert (got.status_code, got.json()["detail"]) == (404, "product 8 is not known")


@pytest.mark.parametrize(
    ("query", "parameter", "detail"),
    [
        ("", "household", "household is missing"),
        ("houshold=1", "household", "household is missing"),
        ("household=abc", "household", "household is abc"),
        ("household=1.5", "household", "household is 1.5"),
        ("household=", "household", "household is "),
        ("household=-1", "household", "household is -1"),
        ("household=99999999999999999999999", "household", "household is 99999999999999999999999"),
        ("household=1&k=0", "k", "k is 0"),
        ("household=1&k=101", "k", "k is 101"),
        ("household=1&k=many", "k", "k is many"),
    ],
)
def test_a_malformed_query_names_the_parameter_and_what_was_expected(
    query: str, parameter: str, detail: str
) -> None:
    got = client().get(f"/v1/feed?{query}")
    assert got.status_code == 400
    assert got.headers["content-type"] == "application/problem+json"
    problem = got.json()
    assert (problem["parameter"], problem["detail"]) == (parameter, detail)
    assert problem["expected"]


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(["household", "k", "x"]), st.text(max_size=30)))
@settings(max_examples=60, deadline=None)
def test_no_query_makes_a_server_error(query: dict[str, str]) -> None:
    for path in ("/v1/feed", "/v1/related", "/", "/feed/1"):
        assert _shared.get(path, params=query).status_code < 500


@given(st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_path_makes_a_server_error(tail: str) -> None:
    for start in ("/feed/", "/product/", "/v1/", "/"):
        assert _shared.get(start + quote(tail, safe="")).status_code < 500


def test_a_broken_feed_is_a_problem_without_its_traceback() -> None:
    for path in ("/v1/feed?household=1", "/feed/1", "/"):
        got = client(OneHousehold(broken=True)).get(path)
        assert got.status_code == 500
        assert "secret" not in got.text
        assert "Traceback" not in got.text
        assert got.headers["x-content-type-options"] == "nosniff"


def test_health_is_of_the_process_and_readiness_of_the_feed() -> None:
    broken = client(OneHousehold(broken=True))
    assert broken.get("/healthz").status_code == 200
    assert broken.get("/readyz").status_code == 503
    assert client().get("/readyz").json() == {"status": "ready", "households": 1}


def test_who_is_not_let_in_sees_nothing_but_health() -> None:
    def refuse(request: Request) -> None:
        if request.headers.get("authorization") != "Bearer right":
            raise HTTPException(401, "a token is needed", headers={"www-authenticate": "Bearer"})

    shut = client(authorise=refuse)
    for path in ("/v1/feed?household=1", "/v1/related?product=7", "/", "/feed/1", "/product/7"):
        got = shut.get(path)
        assert got.status_code == 401
        assert got.headers["www-authenticate"] == "Bearer"
        assert "Milk" not in got.text
        assert shut.get(path, headers={"authorization": "Bearer right"}).status_code == 200
    assert shut.get("/v1/feed?household=x").status_code == 401
    assert shut.get("/healthz").status_code == 200


def test_the_search_box_leads_to_the_household() -> None:
    got = client().get("/?household=%20%231823%20")
    assert (got.status_code, got.headers["location"]) == (303, "/feed/1823")


def test_a_search_for_no_number_is_a_page_that_says_what_was_expected() -> None:
    for asked in ("abc", "", "../healthz", "//elsewhere.example"):
        got = client().get("/", params={"household": asked})
        assert got.status_code == 400
        assert "Expected: a household&#39;s number" in got.text


def test_a_page_escapes_what_it_shows_and_needs_nothing_from_elsewhere() -> None:
    for path in ("/", "/feed/1", "/product/7", "/feed/nobody"):
        got = client().get(path)
        assert "<b>whole</b>" not in got.text
        assert "<script" not in got.text
        assert "http" not in got.text.replace("http://www.w3.org/2000/svg", "")
        assert "default-src 'none'" in got.headers["content-security-policy"]


def test_a_page_shows_each_item_with_its_reason_and_the_history_beside_it() -> None:
    got = client().get("/feed/1").text
    assert "Milk &lt;b&gt;whole&lt;/b&gt;" in got
    assert "You buy this about every 4 days; last 3 days ago" in got
    assert "20 Mar 2026" in got
    assert "Trips with it" in got


def test_a_page_for_somebody_unknown_says_that_it_knows_no_purchases() -> None:
    assert "We know no purchases of this household" in client().get("/feed/2").text


_shared = client()
