"""What a ranker trains on and scores: rows of features, lists of rows, and their actions.

The user's log is held once. A row keeps only the positions of its selected actions; the tokens
are gathered from the log a batch at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from bowerbird.data.features.columns import DAY
from bowerbird.learning.models.ops.nearest import dequantise, select
from bowerbird.learning.models.transact import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from bowerbird.data.samples.sequences import Actions, Sequences
    from bowerbird.learning.models.config import History
    from bowerbird.learning.models.ops.nearest import Codes

Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ActionTable:
    """The log as tensors, and the items' embeddings: what tokens are gathered from."""

    item: Tensor
    at: Tensor
    store: Tensor
    quantity: Tensor
    embeddings: Tensor

    @classmethod
    def of(cls, log: Actions, codes: Codes) -> ActionTable:
        return cls(
            item=torch.from_numpy(log.item),
            at=torch.from_numpy(log.at),
            store=torch.from_numpy(log.extra["store"].astype(np.int64)),
            quantity=torch.from_numpy(np.log1p(log.extra["quantity"]).astype(np.float32)),
            embeddings=torch.from_numpy(dequantise(codes)),
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """Candidates to score: `features` (n, F), and for a sequence model their selected actions.

    `item`, `at`, `place` are (n,); `positions` (n, L) are rows of the log, -1 where missing.
    """

    features: Matrix
    item: Ints | None = None
    at: Ints | None = None
    place: Ints | None = None
    positions: Positions | None = None

    def __len__(self) -> int:
        return len(self.features)

    def tokens(self, rows: Tensor, table: ActionTable) -> Tokens:
        """The selected actions of some rows."""
        if self.positions is None or self.item is None or self.at is None or self.place is None:
            raise ValueError("these rows carry no selected actions; build them with `positions`")
        index = rows.numpy()
        positions = torch.from_numpy(self.positions[index]).long()
        mask = positions >= 0
        where = positions.clamp(min=0)
        candidate = torch.from_numpy(self.item[index])
        item = table.item[where]
        likeness, of_candidate = table.embeddings[item], table.embeddings[candidate]
        days = (torch.from_numpy(self.at[index])[:, None] - table.at[where]).float() / DAY
        numbers = torch.stack(
            [
                torch.log1p(days.clamp(min=0.0)),
                torch.einsum("nld,nd->nl", likeness, of_candidate),
                (item == candidate[:, None]).float(),
                table.quantity[where],
                (table.store[where] == torch.from_numpy(self.place[index])[:, None]).float(),
            ],
            dim=-1,
        )
        return Tokens(item=likeness, numbers=numbers, mask=mask, candidate=of_candidate)


class Loss(Enum):
    """How a head learns from a list."""

    LISTWISE = "listwise"
    POINTWISE = "pointwise"


@dataclass(frozen=True, eq=False)
class Target:
    """What one head learns from lists: `positive` among those `ranked`, both (lists, size)."""

    positive: npt.NDArray[np.bool_]
    ranked: npt.NDArray[np.bool_]
    loss: Loss


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of rows to train on: `index` (lists, size) into `rows`, -1 where missing.

    `targets`: for each head that these lists train, what it learns from them.
    """

    rows: Rows
    index: Ints
    targets: Mapping[str, Target]

    def __len__(self) -> int:
        return len(self.index)


def select_positions(
    log: Actions,
    codes: Codes,
    history: Sequences,
    request: Ints,
    item: Ints,
    config: History,
) -> Positions:
    """Each row's selected actions as rows of the log: (rows, nearest + recent), -1 missing.

    `request` (rows,) ascending, indexes `history`; `item` (rows,).
    """
    found = np.full((len(item), config.nearest + config.recent), -1, dtype=np.int32)
    edges = np.searchsorted(request, np.arange(len(history.start) + 1))
    for which in np.unique(request):
        rows = slice(edges[which], edges[which + 1])
        start, end = history.start[which], history.end[which]
        chosen = select(
            codes, log.item[start:end], item[rows], nearest=config.nearest, recent=config.recent
        )
        found[rows] = np.where(chosen >= 0, chosen + start, -1)
    return found
