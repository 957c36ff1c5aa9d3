"""What the feed knows of products, households apart: names, what is popular, what is promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.discovery.serving.page import Product

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Products:
    """Names by id. A product without a name is still shown, by its number."""

    by_id: Mapping[int, Product]

    @classmethod
    def from_table(cls, products: pa.Table) -> Products:
        """From columns `product_id`, `name`, `department` and, if there is one, `detail`."""
        names = ["product_id", "name", "department"]
        columns = [products[name].to_pylist() for name in names]
        has_detail = "detail" in products.column_names
        details = products["detail"].to_pylist() if has_detail else [""] * products.num_rows
        return cls(
            {
                id_: Product(id_, name or f"Product {id_}", department or "", detail or "")
                for id_, name, department, detail in zip(*columns, details, strict=True)
            }
        )

    def __contains__(self, product_id: int) -> bool:
        return product_id in self.by_id

    def __getitem__(self, product_id: int) -> Product:
        known = self.by_id.get(product_id)
        return known or Product(product_id, f"Product {product_id}")


@dataclass(frozen=True, slots=True, eq=False)
class Popular:
    """Products with a score of how much everybody wants them now; by falling score, then by id."""

    product_ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def from_table(cls, popular: pa.Table) -> Popular:
        """From columns `product_id` and `score`."""
        ids = np.asarray(popular["product_id"].to_numpy(), dtype=np.int64)
        scores = np.asarray(popular["score"].to_numpy(), dtype=np.float32)
        order = np.lexsort((ids, -scores))
        return cls(ids[order], scores[order])


@dataclass(frozen=True, slots=True)
class Promotions:
    """What each store promotes now, and where: "display" or "mailer"."""

    by_store: Mapping[int, tuple[NDArray[np.int64], NDArray[np.str_]]]

    @classmethod
    def from_table(cls, promotions: pa.Table) -> Promotions:
        """From columns `store_id`, `product_id` and `placement`; a product once a store, the first
        by name of its placements ("display" before "mailer")."""
        store = np.asarray(promotions["store_id"].to_numpy(), dtype=np.int64)
        product = np.asarray(promotions["product_id"].to_numpy(), dtype=np.int64)
        placement = np.asarray(promotions["placement"].to_pylist(), dtype=np.str_)
        order = np.lexsort((placement, product, store))
        store, product, placement = store[order], product[order], placement[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(store) != 0) | (np.diff(product) != 0)
        store, product, placement = store[new], product[new], placement[new]
        known, starts = np.unique(store, return_index=True)
        ends = np.append(starts[1:], len(store))
        return cls(
            {
                int(number): (product[start:end], placement[start:end])
                for number, start, end in zip(known, starts, ends, strict=True)
            }
        )
