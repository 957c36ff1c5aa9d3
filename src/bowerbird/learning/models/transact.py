"""A ranker over hand-made features and a lifelong action sequence, shaped like TransActV2.

For each candidate the actions nearest to it and the latest ones (`ops.nearest`) go through a
small causal transformer next to the candidate's embedding; its pooled output joins the features
in a crossing network (DCN-V2, R. Wang et al., WWW 2021), and each head gives one score.

X. Xia et al., TransAct V2: Lifelong User Action Sequence Modeling on Pinterest Recommendation,
2025. Ours differs where said: ages enter as numbers, and the token carries its likeness to the
candidate, which the selection has computed anyway.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bowerbird.learning.models.config import History, TransAct

TOKEN_NUMBERS = 5  # log age in days, likeness, same item, log quantity, same store


class Tokens(NamedTuple):
    """The selected actions of n candidates, oldest first: L = nearest + recent.

    `item` (n, L, d) embeddings, `numbers` (n, L, TOKEN_NUMBERS), `mask` (n, L) True where an
    action stands, `candidate` (n, d).
    """

    item: Tensor
    numbers: Tensor
    mask: Tensor
    candidate: Tensor


class Standardise(nn.Module):
    """sign(x) log(1 + |x|), then to mean 0 and deviation 1; a missing value becomes the mean."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @torch.no_grad()
    def fit(self, rows: Tensor) -> None:
        """Take mean and deviation from rows (n, features) of the training set."""
        values = torch.sign(rows) * torch.log1p(rows.abs())
        known = ~values.isnan()
        count = known.sum(dim=0).clamp(min=1)
        values = values.nan_to_num(0.0)
        mean = values.sum(dim=0, dtype=torch.float64) / count
        square = (values * values).sum(dim=0, dtype=torch.float64) / count
        self.mean.copy_(mean)
        self.scale.copy_((square - mean * mean).clamp(min=1e-8).sqrt())

    def forward(self, rows: Tensor) -> Tensor:
        values = torch.sign(rows) * torch.log1p(rows.abs())
        return ((values - self.mean) / self.scale).nan_to_num(0.0).clamp(-5.0, 5.0)


class Block(nn.Module):
    """One post-LN layer: a single attention head without output projection, then ReLU FFN."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_attention = nn.LayerNorm(width)
        self.into = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)
        self.norm_hidden = nn.LayerNorm(width)

    def forward(self, x: Tensor, blocked: Tensor) -> Tensor:
        """`x` (n, L, width); `blocked` (n, L, L) is 0 or -inf where not to look."""
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        attention = torch.baddbmm(
            blocked, query, key.transpose(1, 2), alpha=1 / math.sqrt(x.shape[-1])
        ).softmax(dim=-1)
        x = self.norm_attention(x + attention @ value)
        encoded: Tensor = self.norm_hidden(x + self.out(torch.relu(self.into(x))))
        return encoded


class Encoder(nn.Module):
    """Tokens to one vector: causal transformer, linear, max pool, beside the latest column."""

    def __init__(self, config: History) -> None:
        super().__init__()
        half = config.width // 2
        self.item = nn.Linear(config.item, half, bias=False)
        self.candidate = nn.Linear(config.item, config.width - half, bias=False)
        self.numbers = nn.Sequential(
            nn.Linear(TOKEN_NUMBERS, config.width), nn.ReLU(), nn.Linear(config.width, config.width)
        )
        length = config.nearest + config.recent
        self.position = nn.Parameter(torch.randn(length, config.width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(config.width, config.hidden) for _ in range(config.layers)
        )
        self.pool = nn.Linear(config.width, config.pooled)
        causal = torch.full((length, length), -torch.inf).triu(1)
        self.register_buffer("causal", causal, persistent=False)
        self.causal: Tensor

    def forward(self, tokens: Tokens) -> Tensor:
        length = tokens.item.shape[1]
        candidate = self.candidate(tokens.candidate)[:, None, :].expand(-1, length, -1)
        x = torch.cat([self.item(tokens.item), candidate], dim=-1)
        x = x + self.numbers(tokens.numbers) + self.position
        # A missing token may look at itself, so that no row of the softmax is empty.
        missing = torch.zeros(tokens.mask.shape).masked_fill(~tokens.mask, -torch.inf)
        blocked = self.causal + missing[:, None, :]
        blocked = blocked.masked_fill(torch.eye(length, dtype=torch.bool), 0.0)
        for block in self.blocks:
            x = block(x, blocked)
        columns = self.pool(x).masked_fill(~tokens.mask[..., None], -1e4)
        some = tokens.mask.any(dim=1, keepdim=True)
        pooled = torch.where(some, columns.amax(dim=1), 0.0)
        latest = torch.where(some, columns[:, -1], 0.0)
        return torch.cat([pooled, latest], dim=-1)


class Cross(nn.Module):
    """DCN-V2, low rank: x_(l+1) = x_0 * (V U x_l + b) + x_l."""

    def __init__(self, width: int, layers: int, rank: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(width, rank, bias=False) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(rank, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        crossed = x
        for down, up in zip(self.down, self.up, strict=True):
            crossed = x * up(down(crossed)) + crossed
        return crossed


class Ranker(nn.Module):
    """Scores (n, heads) of n candidates from their features and selected actions."""

    def __init__(self, config: TransAct) -> None:
        super().__init__()
        self.config = config
        self.standardise = Standardise(config.features)
        self.encoder = Encoder(config.history) if config.history else None
        width = config.features + (2 * config.history.pooled if config.history else 0)
        self.cross = Cross(width, config.cross_layers, config.cross_rank)
        layers: list[nn.Module] = []
        below = width
        for above in config.deep:
            layers += [nn.Linear(below, above), nn.ReLU(), nn.Dropout(config.dropout)]
            below = above
        self.deep = nn.Sequential(*layers)
        self.heads = nn.Linear(width + below, len(config.heads))

    def forward(self, features: Tensor, tokens: Tokens | None = None) -> Tensor:
        x = self.standardise(features)
        if self.encoder is not None and tokens is not None:
            x = torch.cat([x, self.encoder(tokens)], dim=-1)
        scores: Tensor = self.heads(torch.cat([self.deep(x), self.cross(x)], dim=-1))
        return scores
