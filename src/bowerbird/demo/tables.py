"""Requests, candidates and figures as Arrow tables: what one step writes and the next one reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bowerbird.data.samples.requests import Requests
from bowerbird.demo.features import names
from bowerbird.demo.training_set import Judged
from bowerbird.learning.models.retrieval import Candidates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bowerbird.demo.ranking import PerRequest
    from bowerbird.demo.shop import Shop

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

MOMENT = pa.timestamp("us", tz="UTC")


def requests_table(judged: Judged, house: Shop) -> pa.Table:
    """A row a request: request (its index), household_id, store_id (-1: none), at, until,
    product_ids (what it took), taken and taken_new (how many, and how many for the first time)."""
    requests = judged.requests
    products = pa.array(house.product_ids[requests.positives])
    return pa.table(
        {
            "request": pa.array(np.arange(len(requests))),
            "household_id": pa.array(requests.user),
            "store_id": pa.array(requests.place),
            "at": pa.array(requests.at).cast(MOMENT),
            "until": pa.array(requests.until).cast(MOMENT),
            "product_ids": pa.LargeListArray.from_arrays(pa.array(requests.offsets), products),
            "taken": pa.array(judged.taken),
            "taken_new": pa.array(judged.taken_new),
        }
    )


def candidates_table(
    judged: Judged, house: Shop, rows: Ints, matrix: Matrix | None = None
) -> pa.Table:
    """A row a candidate (of `rows`, ascending): request, product_id, label, new, source (bits of
    `training_set.SOURCES`), and one float32 column a feature where `matrix` is given."""
    columns = {
        "request": pa.array(judged.candidates.request[rows]),
        "product_id": pa.array(house.product_ids[judged.candidates.item[rows]]),
        "label": pa.array(judged.label[rows]),
        "new": pa.array(judged.new[rows]),
        "source": pa.array(judged.candidates.source[rows]),
    }
    if matrix is not None:
        columns |= {
            name: pa.array(np.ascontiguousarray(matrix[:, place]))
            for place, name in enumerate(names())
        }
    return pa.table(columns)


def read_judged(requests: pa.Table, candidates: pa.Table, house: Shop) -> Judged:
    """What `requests_table` and `candidates_table` were made from (of the rows written)."""
    taken = requests["product_ids"].combine_chunks()
    request = _ints(candidates["request"])
    return Judged(
        requests=Requests(
            user=_ints(requests["household_id"]),
            place=_ints(requests["store_id"]),
            at=_ints(requests["at"].cast(pa.int64())),
            until=_ints(requests["until"].cast(pa.int64())),
            offsets=_ints(taken.offsets) - taken.offsets[0].as_py(),
            positives=house.items(_ints(taken.flatten())),
        ),
        candidates=Candidates(
            request=request,
            item=house.items(_ints(candidates["product_id"])),
            source=_ints(candidates["source"]),
            offsets=np.searchsorted(request, np.arange(len(requests) + 1)).astype(np.int64),
        ),
        label=candidates["label"].to_numpy(),
        new=candidates["new"].to_numpy(),
        taken=_ints(requests["taken"]),
        taken_new=_ints(requests["taken_new"]),
    )


def read_features(candidates: pa.Table) -> Matrix:
    """The feature columns as one float32 matrix (rows, len(names())), in the declared order."""
    matrix = np.empty((len(candidates), len(names())), dtype=np.float32)
    for place, name in enumerate(names()):
        matrix[:, place] = candidates[name].to_numpy()
    return matrix


def metrics_table(found: Mapping[str, PerRequest], requests: Requests) -> pa.Table:
    """A row a model and request: model, request, household_id, ndcg_all, ndcg_new (null: no
    relevant item, nothing to judge)."""
    count = len(requests)
    return pa.concat_tables(
        pa.table(
            {
                "model": pa.array([model] * count),
                "request": pa.array(np.arange(count)),
                "household_id": pa.array(requests.user),
                "ndcg_all": pa.array(values.every, from_pandas=True),
                "ndcg_new": pa.array(values.new, from_pandas=True),
            }
        )
        for model, values in found.items()
    )


def _ints(column: pa.ChunkedArray | pa.Array) -> Ints:
    return np.asarray(column, dtype=np.int64)
