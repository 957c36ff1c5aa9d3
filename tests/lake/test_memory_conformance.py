"""The log in memory, which the simulation explores, is held to what tables are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bowerbird.core.targets import Change, Entry, LogTarget, Token, Version
from bowerbird.testing.memory import MemoryLog
from bowerbird.testing.target_conformance import Hurried, LogConformance


class MemoryWorld:
    def __init__(self) -> None:
        self._log = MemoryLog("memory")

    def log(self) -> MemoryLog:
        return self._log

    def target(self) -> LogTarget:
        return LogTarget(self._log, Hurried())

    def change(self, token: Token, attempt: str, rows: Mapping[str, Sequence[str]]) -> Change:
        made = dict.fromkeys(rows, f"meaning of {token}")
        return Change(attempt, makes=made, payload={c: tuple(names) for c, names in rows.items()})

    def rows(self) -> list[str]:
        return [name for rows in self._log.rows().values() for name, _ in rows]

    def foreign(self, cell: str, row: str) -> None:
        rows = dict(self._log.rows())
        rows[cell] = (*rows.get(cell, ()), (row, "theirs"))
        self._log.add(Entry(Version(""), changed=frozenset([cell])), rows)

    def set_back(self, version: Version) -> None:
        self._log.head = version

    def expire(self) -> None:
        self._log.expire(frozenset())

    def elsewhere(self) -> tuple[str, tuple[Any, ...]]:
        pytest.skip("memory is of one process")


class TestInMemory(LogConformance):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()
