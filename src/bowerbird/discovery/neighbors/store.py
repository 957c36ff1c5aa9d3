"""The store: key -> neighbours, as files that are written once and then only read.

A store is a folder: one LMDB file a shard, and `manifest.json`, which is written last. The
manifest holds each file's size and checksum, so a store that was cut short, changed or left
half-written opens as a `CorruptError` that names the file, never as wrong neighbours (LMDB itself
would crash the process). The same neighbours give the same bytes.

A shard may be written by a task of its own: keys belong to shards by `shard_of`. A reader holds its
files open: it keeps answering from them when a newer store is published, and even when the folder
that it reads is deleted.

A value is k int64 ids and then k float32 scores, little-endian; a key is eight big-endian bytes
with the sign flipped, so that LMDB's order is the order of the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from bowerbird.core.errors import UserError
from bowerbird.data.keyvalue import (
    PAGE,
    KeyValueFile,
    Reader,
    open_file,
    read_contents,
    write_contents,
    write_file,
)
from bowerbird.discovery.neighbors.search import Neighbors
from bowerbird.discovery.neighbors.vectors import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANIFEST = "manifest.json"
_VERSION = 1
_IDS, _SCORES = np.dtype("<i8"), np.dtype("<f4")


class Found(NamedTuple):
    """The neighbours of one key, best first."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class Shard(msgspec.Struct, frozen=True):
    """One written file of a store."""

    file: str
    number: int
    keys: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a store holds. `k` is the most neighbours that a key may have."""

    version: int
    k: int
    shards: tuple[Shard, ...]

    @property
    def keys(self) -> int:
        return sum(shard.keys for shard in self.shards)


def shard_of(keys: NDArray[np.int64], shards: int) -> NDArray[np.int64]:
    """Which shard each key belongs to (the finaliser of splitmix64: near keys fall apart)."""
    x = np.asarray(keys, dtype=np.int64).view(np.uint64).copy()
    for shift, times in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(times)
    x ^= x >> np.uint64(31)
    return (x % np.uint64(shards)).astype(np.int64)


def write_store(folder: Path, keys: NDArray[np.int64], found: Neighbors) -> Manifest:
    """Write a store of one shard into a folder that holds none yet."""
    return write_manifest(folder, [write_shard(folder, 0, 1, keys, found)], k=found.ids.shape[1])


def write_shard(
    folder: Path, number: int, shards: int, keys: NDArray[np.int64], found: Neighbors
) -> Shard:
    """Write one file of a store: the neighbours of those of its keys that are given, in any order.

    Nobody sees it before `write_manifest` names it. A file of an earlier attempt is written anew.
    """
    if len(keys) != len(found):
        raise UserError(f"{len(keys)} keys for {len(found)} answers", expected="one answer a key")
    if np.any(shard_of(keys, shards) != number):
        raise UserError(
            f"a key does not belong to shard {number} of {shards}",
            expected="the keys where shard_of(keys, shards) == number",
        )
    order = np.argsort(keys, kind="stable")
    if np.any(np.diff(keys[order]) == 0):
        raise UserError("a key comes twice", expected="each key once")
    path = folder / f"neighbors-{number:05d}-of-{shards:05d}.lmdb"
    entries = _entries(keys[order], found.ids[order], found.scores[order])
    written = write_file(path, entries, _room(len(keys), found.ids.shape[1]))
    return Shard(written.file, number, written.entries, written.bytes, written.sha256)


def write_manifest(folder: Path, shards: Sequence[Shard], *, k: int) -> Manifest:
    """Name all shards of a store; from now on it can be opened."""
    written = tuple(sorted(shards, key=lambda shard: shard.number))
    if [shard.number for shard in written] != list(range(len(written))):
        raise UserError(
            f"shards {[shard.number for shard in written]}", expected="0, 1, 2… each once"
        )
    manifest = Manifest(_VERSION, k, written)
    write_contents(folder / MANIFEST, manifest)
    return manifest


def open_store(folder: Path) -> StoreReader:
    """Open a store, having read every byte of it once to see that it is whole."""
    manifest = read_contents(folder / MANIFEST, Manifest, _VERSION)
    files = [KeyValueFile(s.file, s.keys, s.bytes, s.sha256) for s in manifest.shards]
    return StoreReader(manifest, [open_file(folder, file) for file in files])


class StoreReader:
    """Reads one store. Safe to use from many threads; close it, or let it go."""

    def __init__(self, manifest: Manifest, files: Sequence[Reader]) -> None:
        self.manifest = manifest
        self._files = list(files)

    def __len__(self) -> int:
        return self.manifest.keys

    def get(self, key: int) -> Found | None:
        """The neighbours of a key, or None for a key that the store does not know."""
        # The way of `get_many` without its arrays, which would cost five times the look-up.
        files = self._held()
        shard = 0 if len(files) == 1 else int(shard_of(np.array([key]), len(files))[0])
        value = files[shard].get((int(key) + (1 << 63)).to_bytes(8, "big"))
        return None if value is None else _decoded(value)

    def get_many(self, keys: Sequence[int] | NDArray[np.int64]) -> list[Found | None]:
        """What `get` gives for each key, in their order."""
        asked = np.asarray(keys, dtype=np.int64)
        files = self._held()
        names = _encoded(asked)
        found: list[Found | None] = [None] * len(asked)
        shard = shard_of(asked, len(files))
        for number, file in enumerate(files):
            rows = np.flatnonzero(shard == number).tolist()
            values = file.get_many([names[row] for row in rows])
            for row, value in zip(rows, values, strict=True):
                found[row] = None if value is None else _decoded(value)
        return found

    def _held(self) -> list[Reader]:
        if not self._files:
            raise UserError("this reader was closed", fix="open_store(folder)")
        return self._files

    def close(self) -> None:
        """Let the files go. Other readers of the same files are not disturbed."""
        self._files = []

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _room(keys: int, k: int) -> int:
    """The size of the map is part of a file's bytes, so it follows from the content alone.

    A page holds at least one entry, and branch pages are few: four times the data is ample.
    """
    entry = PAGE * (1 + k * 12 // (PAGE // 4))
    return (1 << 20) + keys * min(entry, 4 * (k * 12 + 64))


def _entries(
    keys: NDArray[np.int64], ids: NDArray[np.int64], scores: NDArray[np.float32]
) -> Iterable[tuple[bytes, bytes]]:
    lengths = (ids != NOBODY).sum(axis=1)
    wide, real = ids.astype(_IDS), scores.astype(_SCORES)
    for name, row, n in zip(_encoded(keys), range(len(keys)), lengths, strict=True):
        yield name, wide[row, :n].tobytes() + real[row, :n].tobytes()


def _encoded(keys: NDArray[np.int64]) -> list[bytes]:
    flipped = np.asarray(keys, dtype=np.int64).view(np.uint64) ^ np.uint64(1 << 63)
    raw = flipped.astype(">u8").tobytes()
    return [raw[at : at + 8] for at in range(0, len(raw), 8)]


def _decoded(value: bytes) -> Found:
    n = len(value) // 12
    return Found(
        np.frombuffer(value, _IDS, count=n), np.frombuffer(value, _SCORES, count=n, offset=8 * n)
    )
