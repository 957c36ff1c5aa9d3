"""Nearest-neighbour selection: which of a user's actions a candidate is compared with.

TransActV2 (Pinterest, 2025): of a lifelong sequence keep the `nearest` actions whose item is most
like the candidate (dot product of int8 embeddings), and always the `recent` latest. Both versions
agree to the last position: the products are whole numbers, and a tie goes to the later action.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]

# The published clamp: a unit vector's entries rarely leave it.
CLAMP = 0.65


def quantise(embeddings: npt.NDArray[np.float32]) -> Codes:
    """q = clamp(round(e / 0.65 * 127), -127, 127); the error inside the clamp is <= 0.65 / 254."""
    codes: Codes = np.clip(np.rint(embeddings * (127 / CLAMP)), -127, 127).astype(np.int8)
    return codes


def dequantise(codes: Codes) -> npt.NDArray[np.float32]:
    return codes.astype(np.float32) * np.float32(CLAMP / 127)


def select(codes: Codes, history: Ints, candidates: Ints, *, nearest: int, recent: int) -> Ints:
    """Positions in `history` for each candidate: (candidates, nearest + recent), -1 where missing.

    `codes` (items, d) int8; `history` (actions,) items from oldest to latest; `candidates` items.
    A row holds the selected older actions by time, then the latest ones by time; missing ones
    stand at the front, so the latest action is always last.
    """
    chosen = np.full((len(candidates), nearest + recent), -1, dtype=np.int64)
    old = max(len(history) - recent, 0)
    latest = np.arange(old, len(history))
    if len(latest):
        chosen[:, -len(latest) :] = latest
    if old == 0 or nearest == 0 or len(candidates) == 0:
        return chosen
    kept = min(nearest, old)
    stop = chosen.shape[1] - len(latest)
    if kept == old:
        chosen[:, stop - kept : stop] = np.arange(old)
        return chosen
    items, position = np.unique(history[:old], return_inverse=True)
    # float32 holds these sums exactly: d * 127^2 < 2^24 up to d = 1040.
    likeness = codes[candidates].astype(np.float32) @ codes[items].astype(np.float32).T
    key = likeness[:, position].astype(np.int64) * old + np.arange(old)
    chosen[:, stop - kept : stop] = np.sort(np.argpartition(key, old - kept)[:, old - kept :])
    return chosen


def select_reference(
    codes: Codes, history: Ints, candidates: Ints, *, nearest: int, recent: int
) -> Ints:
    """`select` as its definition reads."""
    rows = []
    old = max(len(history) - recent, 0)
    for candidate in candidates.tolist():
        likeness = [
            int(np.dot(codes[item].astype(np.int64), codes[candidate].astype(np.int64)))
            for item in history[:old].tolist()
        ]
        ranked = sorted(range(old), key=lambda place: (-likeness[place], -place))
        kept = sorted(ranked[:nearest]) + list(range(old, len(history)))
        rows.append([-1] * (nearest + recent - len(kept)) + kept)
    return np.array(rows, dtype=np.int64).reshape(len(candidates), nearest + recent)
