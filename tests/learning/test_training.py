"""The ranker, its losses and its training: shapes, masks, causality, the same bits twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bowerbird.data.features.columns import DAY
from bowerbird.data.samples.sequences import actions, sequences
from bowerbird.learning.models.embeddings import item_embeddings
from bowerbird.learning.models.losses import binary_cross_entropy, listwise_softmax, next_action
from bowerbird.learning.models.ops.nearest import quantise
from bowerbird.learning.models.retrieval import Candidates
from bowerbird.learning.models.transact import Encoder, History, TransAct
from bowerbird.learning.training.evaluation import ndcg
from bowerbird.learning.training.fit import Fit, fit, predict
from bowerbird.learning.training.lists import (
    ActionTable,
    Lists,
    Loss,
    Rows,
    Target,
    select_positions,
)

SMALL = History(nearest=4, recent=2, item=12, width=8, layers=1, hidden=8, pooled=4)


def toy(seed: int = 0, lists: int = 40, size: int = 6) -> tuple[Lists, ActionTable]:
    """Lists in which the one positive is the item that the user took most often before."""
    generator = np.random.default_rng(seed)
    rows, items = 600, 15
    log = actions(
        generator.integers(0, 8, rows),
        generator.integers(0, items, rows),
        generator.integers(0, 100, rows) * DAY,
        {"store": np.zeros(rows), "quantity": np.ones(rows)},
    )
    codes = quantise(
        item_embeddings(
            log,
            [np.arange(items)],
            through=100 * DAY,
            items=items,
            widths=(6, 6),
            weights=(0.3, 0.7),
        )
    )
    user = np.sort(generator.integers(0, 8, lists))
    at = np.full(lists, 100 * DAY)
    item = np.concatenate([generator.permutation(items)[:size] for _ in range(lists)])
    request = np.repeat(np.arange(lists), size)
    history = sequences(log, user, at, cap=100)
    count = np.array(
        [
            (log.item[history.start[r] : history.end[r]] == i).sum()
            for r, i in zip(request, item, strict=True)
        ]
    )
    index = np.arange(lists * size).reshape(lists, size)
    positive = np.zeros((lists, size), dtype=bool)
    positive[np.arange(lists), count.reshape(lists, size).argmax(axis=1)] = True
    features = np.stack([generator.normal(size=len(item)), count], axis=1).astype(np.float32)
    found = Rows(
        features=features,
        item=item,
        at=at[request],
        place=np.zeros(len(item), dtype=np.int64),
        positions=select_positions(log, codes, history, request, item, SMALL),
    )
    target = Target(positive, np.ones_like(positive), Loss.LISTWISE)
    return Lists(found, index, {"trip": target}), ActionTable.of(log, codes)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits() -> None:
    lists, table = toy()
    config = TransAct(features=2, heads=("trip",), history=SMALL, deep=(8,))
    first, second = (
        predict(
            fit(config, [lists], Fit(epochs=2, threads=2), table=table)[0], lists.rows, table=table
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_training_learns_what_the_features_say() -> None:
    lists, _ = toy(lists=200)
    config = TransAct(features=2, heads=("trip",), deep=(8,))
    _, curves = fit(config, [lists], Fit(epochs=8, batch=20, learning_rate=2e-2, threads=1))
    assert curves[-1].loss < 0.6 * math.log(6)


def test_progress_and_validation_are_reported() -> None:
    lists, _ = toy()
    seen: list[tuple[int, int]] = []
    _, curves = fit(
        TransAct(features=2, heads=("trip",), deep=(4,)),
        [lists],
        Fit(epochs=2, batch=10, threads=1),
        validate=lambda _: {"ndcg": 0.5},
        on_progress=lambda done, total, _: seen.append((done, total)),
    )
    assert seen[-1] == (8, 8)
    assert [curve.metrics for curve in curves] == [{"ndcg": 0.5}] * 2


def test_an_earlier_token_does_not_see_a_later_one() -> None:
    lists, table = toy()
    encoder = Encoder(SMALL)
    tokens = lists.rows.tokens(torch.arange(3), table)
    changed = tokens._replace(numbers=tokens.numbers.clone())
    changed.numbers[:, -1] += 1.0
    seen: list[torch.Tensor] = []
    encoder.blocks[-1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    encoder(tokens)
    encoder(changed)
    torch.testing.assert_close(seen[0][:, :-1], seen[1][:, :-1])
    assert not torch.allclose(seen[0][:, -1], seen[1][:, -1])


def test_a_user_without_actions_gets_a_finite_score() -> None:
    lists, table = toy()
    rows = Rows(
        features=lists.rows.features[:3],
        item=lists.rows.item[:3] if lists.rows.item is not None else None,
        at=np.zeros(3, dtype=np.int64),
        place=np.zeros(3, dtype=np.int64),
        positions=np.full((3, 6), -1, dtype=np.int32),
    )
    config = TransAct(features=2, heads=("trip",), history=SMALL, deep=(8,))
    ranker, _ = fit(config, [lists], Fit(epochs=1, threads=1), table=table)
    assert np.isfinite(predict(ranker, rows, table=table)).all()


def test_a_listwise_loss_ignores_what_is_masked_and_lists_without_a_positive() -> None:
    scores = torch.tensor([[0.0, 0.0, 50.0], [3.0, 1.0, 2.0]])
    label = torch.tensor([[True, False, False], [False, False, False]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert float(listwise_softmax(scores, label, mask)) == np.float32(math.log(2))


def test_binary_cross_entropy_is_a_mean_over_what_is_ranked() -> None:
    scores = torch.tensor([[0.0, 80.0]])
    mask = torch.tensor([[True, False]])
    found = binary_cross_entropy(scores, torch.tensor([[True, False]]), mask)
    assert float(found) == np.float32(math.log(2))


def test_the_next_action_loss_is_a_softmax_of_the_next_item_among_negatives() -> None:
    state = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    found = next_action(
        state, taken=state, negatives=torch.zeros(1, 3, 2), mask=torch.tensor([[True, False]])
    )
    assert float(found) == pytest.approx(math.log(math.e + 3) - 1, rel=1e-6)


def test_a_relevant_item_that_was_not_retrieved_lowers_the_figure() -> None:
    candidates = Candidates(
        request=np.array([0, 0, 1]),
        item=np.array([3, 4, 3]),
        source=np.zeros(3, dtype=np.int64),
        offsets=np.array([0, 2, 3]),
    )
    relevant = np.array([True, False, False])
    found = ndcg(candidates, [1.0, 1.0, 0.0], relevant, np.array([2, 0]))
    # Item 3 ties with item 4 and stands first; the second relevant item is not a candidate.
    assert found[0] == 1 / (1 + 1 / math.log2(3))
    assert np.isnan(found[1])
