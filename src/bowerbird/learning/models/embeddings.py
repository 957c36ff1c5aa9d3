"""Item embeddings for nearest-neighbour selection: who buys it, and what it is.

The dot product of two unit embeddings is about `weights` . (cosine of their buyers, same type,
same category...), plus the noise of random codes (deviation weight / sqrt(width)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bowerbird.data.samples.sequences import Actions

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]


def item_embeddings(
    log: Actions,
    groups: Sequence[Ints],
    *,
    through: int,
    items: int,
    widths: Sequence[int] = (24, 24, 16),
    weights: Sequence[float] = (0.3, 0.5, 0.2),
    seed: int = 0,
) -> Matrix:
    """Unit vectors, float32 (items, sum of widths), from actions strictly before `through`.

    `groups`: coded groups of each item (type, category), one array (items,) each. The first width
    and weight are the buyers' part, the others the groups', in order.
    """
    generator = np.random.default_rng(seed)
    parts = [_buyers(log, through, items, widths[0], generator) * np.sqrt(weights[0])]
    for codes, width, weight in zip(groups, widths[1:], weights[1:], strict=True):
        table = generator.normal(size=(int(codes.max(initial=0)) + 1, width))
        table /= np.linalg.norm(table, axis=1, keepdims=True)
        parts.append(table[codes] * np.sqrt(weight))
    joined = np.concatenate(parts, axis=1)
    length = np.linalg.norm(joined, axis=1, keepdims=True)
    return np.asarray(joined / np.maximum(length, 1e-9), dtype=np.float32)


def _buyers(
    log: Actions, through: int, items: int, width: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Unit vectors of the item-by-user matrix, by a randomised range finder (Halko, 2011)."""
    past = log.at < through
    users = int(log.user.max(initial=0)) + 1
    counts = sparse.csr_matrix(
        (np.ones(int(past.sum())), (log.item[past], log.user[past])), shape=(items, users)
    )
    counts.data = np.log1p(counts.data)
    rarity = np.log((1 + items) / (1 + np.bincount(counts.indices, minlength=users)))
    counts = counts @ sparse.diags(rarity)
    norm = np.sqrt(counts.multiply(counts).sum(axis=1)).A1
    counts = sparse.diags(1 / np.maximum(norm, 1e-9)) @ counts
    basis = generator.normal(size=(users, width + 8))
    for _ in range(3):
        basis, _ = np.linalg.qr(counts.T @ (counts @ basis))
    found = np.asarray(counts @ basis)
    _, _, rotation = np.linalg.svd(found, full_matrices=False)
    vectors = found @ rotation[:width].T
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9))
