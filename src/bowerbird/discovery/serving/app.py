"""The feed in the web application: `/v1/feed`, `/v1/related`, and the pages that a person looks at.

Importing this module loads FastAPI and Jinja2. Errors are problem values that name the parameter
and what was expected. Nothing that a request can hold makes a traceback.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from bowerbird.core.errors import UserError
from bowerbird.discovery.serving import views
from bowerbird.discovery.serving.page import MAX_K, FeedReader
from bowerbird.http.app import Authorise, Mount, application, as_json
from bowerbird.http.problems import Problem, answer, short

_LARGEST = 2**63 - 1
_EXPECTED = {
    "household": "a household's number, as in household=1823",
    "product": "a product's number, as in product=1082185",
    "k": f"a whole number from 1 to {MAX_K}",
}

Household = Annotated[int, Query(ge=0, le=_LARGEST, description="Whose feed.")]
ProductId = Annotated[int, Query(ge=0, le=_LARGEST, description="Whose neighbours.")]
K = Annotated[int, Query(ge=1, le=MAX_K, description="How many items.")]


def create_app(feed: FeedReader, authorise: Authorise | None) -> FastAPI:
    """An application of one feed and nothing else. authorise: as `application` takes it."""
    return application([mount(feed)], authorise)


def mount(feed: FeedReader) -> Mount:
    """A feed, to be mounted."""
    router = APIRouter()
    _add_api(router, feed)
    _add_pages(router, feed)
    return Mount(
        "the feed",
        "/",
        router,
        expected=_EXPECTED,
        ready=lambda: {"households": len(feed.households())},
    )


def _add_api(router: APIRouter, feed: FeedReader) -> None:
    @router.get("/v1/feed", summary="The ranked page of a household")
    def feed_page(household: Household, k: K = 20) -> Response:
        return as_json(feed.page(household, k))

    @router.get("/v1/related", summary="The neighbours of a product")
    def related(product: ProductId, k: K = 20) -> Response:
        found = feed.related(product, k)
        if found is None:
            detail = f"product {product} is not known"
            problem = Problem("Not found", 404, detail, "product", _EXPECTED["product"])
            return answer(problem)
        return as_json(found)


def _add_pages(router: APIRouter, feed: FeedReader) -> None:
    @router.get("/", include_in_schema=False)
    def home(household: str | None = None) -> Response:
        if household is not None:
            return RedirectResponse(f"/feed/{_searched(household)}", status_code=303)
        return HTMLResponse(views.home(feed))

    @router.get("/feed/{household}", include_in_schema=False)
    def household_page(household: Annotated[int, Path(ge=0, le=_LARGEST)], k: K = 24) -> Response:
        return HTMLResponse(views.household(feed, household, k))

    @router.get("/product/{product}", include_in_schema=False)
    def product_page(product: Annotated[int, Path(ge=0, le=_LARGEST)], k: K = 24) -> Response:
        found = feed.related(product, k)
        if found is None:
            raise HTTPException(404, f"product {product} is not known")
        return HTMLResponse(views.product(found))


def _searched(text: str) -> int:
    """The number in what somebody typed into the search box."""
    known = text.strip().lstrip("#").strip()
    if not (known.isascii() and known.isdigit() and len(known) <= len(str(_LARGEST))):
        problem = f"household is {short(text)}"
        raise UserError(problem, where="household", expected=_EXPECTED["household"])
    return int(known)
