"""Which snapshots of a table may go, and why the others stay. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from bowerbird.core.targets import Token


class Node(msgspec.Struct, frozen=True):
    """One snapshot. at: milliseconds since 1970. counts: it exchanged files, so a reader may want
    it; commits that did not (an expiry, a burnt token) are not counted as versions to keep."""

    version: int
    parent: int | None
    at: int
    token: str | None = None
    counts: bool = True


class Name(msgspec.Struct, frozen=True):
    """A branch or a tag, and a branch's own retention where it has one (`max_age` in ms)."""

    name: str
    version: int
    branch: bool = True
    keep_last: int | None = None
    max_age: int | None = None


def staying(
    nodes: Iterable[Node],
    names: Sequence[Name],
    *,
    older_than: int,
    keep_last: int,
    spared: Collection[Token] = (),
    now: int,
) -> dict[int, str]:
    """The snapshots that stay -> why; all others may go.

    older_than: what was committed at that moment (ms) or since stays. keep_last: so many versions
    of each branch stay whatever their age. spared: tokens that a run may still look for.

    Of a branch there stays all from its head back to the last that must, without a gap: a head that
    does not descend from a commit, as far as anybody can see, is one that it was set back from.
    """
    known = {node.version: node for node in nodes}
    why: dict[int, str] = {}
    for name in names:
        if not name.branch:
            why.setdefault(name.version, f"tag {name.name}")
            continue
        line = chain(known, name.version)
        since = older_than if name.max_age is None else min(older_than, now - name.max_age)
        count = max(keep_last, name.keep_last or 0, 1)
        for node, reason in _of_branch(line, name.name, since, count, spared):
            why.setdefault(node.version, reason)
    branches = [name for name in names if name.branch]
    inside = {node.version for name in branches for node in chain(known, name.version)}
    for node in known.values():
        if node.version not in inside and (node.at >= older_than or node.token in spared):
            why.setdefault(node.version, "no branch leads to it, and it is young or looked for")
    return why


def chain(known: Mapping[int, Node], version: int | None) -> list[Node]:
    """From a snapshot back to the oldest that is there."""
    line: list[Node] = []
    while version is not None and version in known:
        line.append(known[version])
        version = known[version].parent
    return line


def _of_branch(
    line: list[Node], name: str, since: int, count: int, spared: Collection[Token]
) -> list[tuple[Node, str]]:
    """The first part of a branch's line, newest first, that stays."""
    needed: list[str] = []
    counted = 0
    tells_state = False
    for node in line:
        reason = ""
        if counted < count:
            reason = f"last of {name}"
        elif node.at >= since:
            reason = "young"
        elif node.token in spared:
            reason = "a run may look for it"
        elif not tells_state and node.token is not None:
            # Cells lie in our commits: without one, the state of every partition would be lost.
            reason = "tells what partitions hold"
        counted += node.counts
        tells_state = tells_state or node.token is not None
        needed.append(reason)
    last = max((at for at, reason in enumerate(needed) if reason), default=0)
    reasons = (reason or "lies before one that stays" for reason in needed[: last + 1])
    return list(zip(line, reasons, strict=False))
