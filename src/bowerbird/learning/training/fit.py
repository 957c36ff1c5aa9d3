"""The training loop: lists in, a fitted ranker and its curves out; the same seed, the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from bowerbird.learning.models.config import TransAct
from bowerbird.learning.models.losses import binary_cross_entropy, listwise_softmax
from bowerbird.learning.models.transact import Ranker
from bowerbird.learning.training.config import Curve, Fit
from bowerbird.learning.training.lists import Loss

if TYPE_CHECKING:
    from torch import Tensor

    from bowerbird.learning.training.lists import ActionTable, Lists, Rows

Validate = Callable[[Ranker], Mapping[str, float]]
OnProgress = Callable[[int, int, Mapping[str, float]], None]


def fit(
    config: TransAct,
    sets: Sequence[Lists],
    how: Fit,
    *,
    table: ActionTable | None = None,
    validate: Validate | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Ranker, list[Curve]]:
    """Train on all sets together, their batches mixed; each list trains the heads it has."""
    torch.set_num_threads(how.threads)
    torch.manual_seed(how.seed)
    order = torch.Generator().manual_seed(how.seed)
    ranker = Ranker(config)
    ranker.standardise.fit(_sample([lists.rows for lists in sets], how.seed))
    steps = how.epochs * sum(-(-len(lists) // how.batch) for lists in sets)
    optimiser = torch.optim.AdamW(
        ranker.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, how.learning_rate, total_steps=max(steps, 1), pct_start=how.warmup
    )
    curves: list[Curve] = []
    done = 0
    for epoch in range(how.epochs):
        ranker.train()
        total, batches = 0.0, 0
        for lists, chosen in _batches(sets, how.batch, order):
            loss = _loss(ranker, lists, chosen, table, how)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
            total += float(loss.detach())
            batches += 1
            done += 1
            if on_progress and done % 20 == 0:
                on_progress(done, steps, {"loss": total / batches})
        ranker.eval()
        metrics = dict(validate(ranker)) if validate else {}
        curves.append(Curve(epoch=epoch + 1, loss=total / max(batches, 1), metrics=metrics))
        if on_progress:
            on_progress(done, steps, {"loss": curves[-1].loss, **metrics})
    return ranker, curves


@torch.no_grad()
def predict(
    ranker: Ranker, rows: Rows, *, table: ActionTable | None = None, block: int = 32_768
) -> npt.NDArray[np.float32]:
    """Scores (rows, heads), some rows at a time."""
    ranker.eval()
    found = np.empty((len(rows), len(ranker.config.heads)), dtype=np.float32)
    for low in range(0, len(rows), block):
        index = torch.arange(low, min(low + block, len(rows)))
        found[low : low + block] = _score(ranker, rows, index, table).numpy()
    return found


def _score(ranker: Ranker, rows: Rows, index: Tensor, table: ActionTable | None) -> Tensor:
    features = torch.from_numpy(rows.features[index.numpy()])
    tokens = None
    if ranker.encoder is not None:
        if table is None:
            raise ValueError("a ranker with a history needs the table of actions; pass `table`")
        tokens = rows.tokens(index, table)
    scores: Tensor = ranker(features, tokens)
    return scores


def _loss(
    ranker: Ranker, lists: Lists, chosen: Tensor, table: ActionTable | None, how: Fit
) -> Tensor:
    places = chosen.numpy()
    index = torch.from_numpy(np.maximum(lists.index[places], 0))
    scores = _score(ranker, lists.rows, index.flatten(), table).view(*index.shape, -1)
    loss = torch.zeros(())
    for place, head in enumerate(ranker.config.heads):
        if head in lists.targets:
            target = lists.targets[head]
            positive = torch.from_numpy(target.positive[places])
            ranked = torch.from_numpy(target.ranked[places])
            if target.loss is Loss.LISTWISE:
                loss = loss + listwise_softmax(scores[..., place], positive, ranked)
            else:
                each = binary_cross_entropy(scores[..., place], positive, ranked)
                loss = loss + how.pointwise_weight * each
    return loss


def _batches(
    sets: Sequence[Lists], size: int, order: torch.Generator
) -> Iterator[tuple[Lists, Tensor]]:
    batches = [
        (lists, chosen)
        for lists in sets
        if len(lists)
        for chosen in torch.split(torch.randperm(len(lists), generator=order), size)
    ]
    for place in torch.randperm(len(batches), generator=order).tolist():
        yield batches[place]


def _sample(rows: Sequence[Rows], seed: int, most: int = 200_000) -> Tensor:
    """Feature rows for the input's statistics: enough of them, not all (memory)."""
    generator = np.random.default_rng(seed)
    share = min(1.0, most / max(sum(len(part) for part in rows), 1))
    kept = [part.features[np.flatnonzero(generator.random(len(part)) < share)] for part in rows]
    return torch.from_numpy(np.concatenate(kept))


def weights(ranker: Ranker) -> dict[str, npt.NDArray[np.float32]]:
    """A ranker's parameters and input statistics by name, as arrays that can be kept anywhere."""
    return {name: value.numpy().copy() for name, value in ranker.state_dict().items()}


def with_weights(config: TransAct, kept: Mapping[str, npt.NDArray[np.float32]]) -> Ranker:
    """The ranker that `weights` was taken from; missing or surplus names are refused."""
    ranker = Ranker(config)
    ranker.load_state_dict({name: torch.from_numpy(value) for name, value in kept.items()})
    return ranker.eval()
