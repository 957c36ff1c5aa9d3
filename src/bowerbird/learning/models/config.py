"""The shapes of models, apart from them, so that a spec names a shape without loading torch."""

from __future__ import annotations

import msgspec


class History(msgspec.Struct, frozen=True):
    """The sequence part: how many actions are kept, and the size of their encoder."""

    nearest: int = 16
    recent: int = 8
    item: int = 64  # width of the given item embeddings
    width: int = 32
    layers: int = 2
    hidden: int = 32
    pooled: int = 32


class TransAct(msgspec.Struct, frozen=True):
    """The ranker. `features` is their number, 0 for none; `history` None leaves it out."""

    features: int
    heads: tuple[str, ...]
    history: History | None = None
    cross_layers: int = 2
    cross_rank: int = 32
    deep: tuple[int, ...] = (128, 64)
    dropout: float = 0.1
