"""How a model is trained, apart from the loop, so that a spec says it without loading torch."""

from __future__ import annotations

import msgspec


class Fit(msgspec.Struct, frozen=True):
    """How a ranker is trained."""

    epochs: int = 3
    batch: int = 64  # lists
    learning_rate: float = 2e-3
    weight_decay: float = 1e-5
    warmup: float = 0.1  # share of all steps
    # A list's softmax counts it once, a point-wise loss is a mean over rows: far smaller steps.
    pointwise_weight: float = 8.0
    seed: int = 0
    threads: int = 2


class Curve(msgspec.Struct, frozen=True):
    """One epoch: its mean training loss, and what validation measured after it."""

    epoch: int
    loss: float
    metrics: dict[str, float]
