"""Losses over lists of candidates; pure functions of tensors.

Shapes: `scores`, `label` and `mask` are (lists, candidates); `mask` is True where a candidate
stands and may be ranked.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def listwise_softmax(scores: Tensor, label: Tensor, mask: Tensor, power: float = 1.0) -> Tensor:
    """Cross-entropy of the list's softmax against its positives, a list at a time.

    A list with n positives weighs n^(1 - power): 1 counts each list once, 0 each positive once.
    Lists without a positive are left out. (ListNet's top-one loss: Z. Cao et al., ICML 2007.)
    """
    positive = (label & mask).to(scores.dtype)
    count = positive.sum(dim=1)
    chance = functional.log_softmax(scores.masked_fill(~mask, -1e9), dim=1)
    each = -(chance * positive).sum(dim=1) / count.clamp(min=1.0) ** power
    return each.sum() / (count > 0).sum().clamp(min=1)


def binary_cross_entropy(scores: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Point-wise cross-entropy of each candidate's logit."""
    each = functional.binary_cross_entropy_with_logits(
        scores, label.to(scores.dtype), reduction="none"
    )
    return (each * mask).sum() / mask.sum().clamp(min=1)


def next_action(state: Tensor, taken: Tensor, negatives: Tensor, mask: Tensor) -> Tensor:
    """TransActV2's next action loss: each position's state against the item taken next.

    `state` (lists, positions, d) is the encoder's output u(t), `taken` (lists, positions, d) the
    embedding p(t + 1), `negatives` (lists, count, d) those of items shown and not taken, `mask`
    (lists, positions) where a next action exists.
    """
    above = (state * taken).sum(dim=-1)
    below = torch.einsum("ltd,lnd->ltn", state, negatives)
    each = torch.logsumexp(torch.cat([above[..., None], below], dim=-1), dim=-1) - above
    return (each * mask).sum() / mask.sum().clamp(min=1)
