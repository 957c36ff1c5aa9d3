"""Serving: from a household and a moment to a page of ranked products, with a reason for each.

Who comes in: what households bought (`Histories`), a neighbour store, what is popular and promoted,
and a ranker: a function from a table of candidates to scores. What leaves: a frozen `Page`. The
pipeline is pure: each source proposes what it knows, `union` lets in by quota, the ranker scores,
`spread` keeps one department from filling the page, `reasons` says why. Whatever is missing or
breaks makes a page that is still useful and says what it lacks (`degraded`), never an error.

::

    feed = PinnedFeed(products=Products.from_table(products), histories=Histories.from_table(buys),
                      neighbors=open_store(folder), popular=Popular.from_table(popular),
                      ranker=model, now=clock)
    page = feed.page(household=1823, k=20)
    create_app(feed, authorise=None)        # from bowerbird.discovery.serving.app

The web application loads FastAPI, so it is not handed out here: import it from `app`.
"""

from bowerbird.discovery.serving.diversity import reserve, spread, spread_plainly
from bowerbird.discovery.serving.feed import FeedSettings, PinnedFeed, Ranker
from bowerbird.discovery.serving.history import Histories, History
from bowerbird.discovery.serving.page import (
    MAX_K,
    FeedReader,
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
from bowerbird.discovery.serving.products import Popular, Products, Promotions
from bowerbird.discovery.serving.reasons import reasons
from bowerbird.discovery.serving.retrieval import (
    Proposals,
    Source,
    from_habit,
    from_neighbors,
    from_popular,
    from_promotions,
    union,
)

__all__ = [
    "MAX_K",
    "FeedReader",
    "FeedSettings",
    "Histories",
    "History",
    "Page",
    "PageItem",
    "PinnedFeed",
    "Popular",
    "Product",
    "Products",
    "Promotions",
    "Proposals",
    "Purchase",
    "Ranker",
    "Reason",
    "ReasonKind",
    "Related",
    "RelatedItem",
    "Source",
    "SourceScore",
    "checked_k",
    "from_habit",
    "from_neighbors",
    "from_popular",
    "from_promotions",
    "reasons",
    "reserve",
    "spread",
    "spread_plainly",
    "union",
]
