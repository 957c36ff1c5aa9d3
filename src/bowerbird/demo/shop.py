"""Complete Journey as arrays: purchases by household, the catalogue, what was promoted where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bowerbird.data.features.columns import DAY
from bowerbird.data.samples.negatives import DISPLAYED, MAILED, Promotions, promotions
from bowerbird.data.samples.sequences import Actions, actions, first_actions

Ints = npt.NDArray[np.int64]

# Promotion weeks roll over at midnight in New York: week 2 begins 2017-01-02 05:00 UTC. The data
# end inside week 53; a later moment belongs to it all the same.
WEEK_TWO = int(np.datetime64("2017-01-02T05:00:00", "us").astype(np.int64))
LAST_WEEK = 53


@dataclass(frozen=True, eq=False)
class Shop:
    """Items are numbered densely: item i is product `product_ids[i]` (ascending).

    `log`: purchases by (household, moment), with store, quantity, price (per unit, before
    coupons) and discount (share of the shelf price) as extra columns. `firsts`: each household's
    first purchase of each item. The item_* arrays give each item's coded group.
    """

    product_ids: Ints
    log: Actions
    firsts: Actions
    item_type: Ints
    item_category: Ints
    item_maker: Ints
    item_department: Ints
    item_private: Ints

    def items(self, product_ids: Ints) -> Ints:
        """Dense numbers of product ids; -1 where nobody ever bought it."""
        found = np.minimum(np.searchsorted(self.product_ids, product_ids), len(self) - 1)
        return np.where(self.product_ids[found] == product_ids, found, -1)

    def __len__(self) -> int:
        return len(self.product_ids)


def shop(transactions: pa.Table, products: pa.Table) -> Shop:
    """From `transactions` (household_id, store_id, product_id, quantity, sales_value, retail_disc,
    at in UTC microseconds) and `products` (product_id, product_type, product_category,
    manufacturer_id, department, brand)."""

    def column(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(transactions[name].to_numpy(), dtype=np.float64)

    moments = transactions["at"]
    product_ids, item = np.unique(transactions["product_id"].to_numpy(), return_inverse=True)
    quantity = np.maximum(column("quantity"), 1.0)
    shelf = column("sales_value") + column("retail_disc")
    log = actions(
        transactions["household_id"].to_numpy(),
        item,
        pc.cast(moments, pa.int64()).to_numpy(),
        {
            "store": column("store_id"),
            "quantity": np.minimum(quantity, 20.0),
            "price": shelf / quantity,
            "discount": np.divide(
                column("retail_disc"), shelf, out=np.zeros(len(shelf)), where=shelf > 0
            ).clip(0.0, 1.0),
        },
    )
    row = np.searchsorted(products["product_id"].to_numpy(), product_ids)

    def group(name: str) -> Ints:
        codes = products[name].combine_chunks().dictionary_encode().indices
        return np.asarray(pc.fill_null(codes, len(products)).to_numpy(), dtype=np.int64)[row] + 1

    return Shop(
        product_ids=product_ids,
        log=log,
        firsts=first_actions(log),
        item_type=group("product_type"),
        item_category=group("product_category"),
        item_maker=group("manufacturer_id"),
        item_department=group("department"),
        item_private=group("brand"),
    )


def week_of(at: Ints) -> Ints:
    """The promotion week of a moment (microseconds), 1 to 53."""
    week: Ints = (at - WEEK_TWO) // (7 * DAY) + 2
    return np.clip(week, 1, LAST_WEEK)


def promotion_index(table: pa.Table, house: Shop) -> Promotions:
    """From `promotions` (product_id, store_id, display_location, mailer_location, week).

    A location of "0" means that there was none. Products that nobody ever bought are left out.
    """
    item = house.items(table["product_id"].to_numpy())
    displayed = pc.not_equal(table["display_location"], "0").to_numpy()
    mailed = pc.not_equal(table["mailer_location"], "0").to_numpy()
    kind = (displayed * DISPLAYED + mailed * MAILED).astype(np.int8)
    known = item >= 0
    return promotions(
        table["week"].to_numpy()[known],
        table["store_id"].to_numpy()[known],
        item[known],
        kind[known],
        items=len(house),
    )
