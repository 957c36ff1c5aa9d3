"""Step kinds: what a room says of one kind of step, so that the executor can carry it out.

A step kind is a module-level value that a `Room` names. The executor knows nothing else of a room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from bowerbird.core.engine import Outcome, Setup, Task
from bowerbird.core.errors import RunError
from bowerbird.core.plans import Step
from bowerbird.core.targets import Change, Read


class TargetKind(StrEnum):
    TABLE = "table"
    RELEASE = "release"
    OBJECT = "object"
    NONE = "none"
    """The step commits nowhere: it is repeatable, and its kind says so."""


class Access(msgspec.Struct, frozen=True):
    """How to get at an object store and a REST catalog. It holds secrets: its repr shows none.

    Named as the settings are. What is empty is left to the environment, as AWS's tools find it.
    """

    s3_endpoint: str = ""
    s3_region: str = ""
    s3_access_key: str = ""
    s3_secret_key: str = ""
    iceberg_credential: str = ""

    def __repr__(self) -> str:
        return f"Access(s3_endpoint={self.s3_endpoint!r})"


class Home(msgspec.Struct, frozen=True):
    """Where a workspace lives, as plain values that travel to tasks: rooms open what they need.

    metadata: URL of the metadata database (it may hold a password: never print it).
    warehouse: a folder or an ``s3://`` prefix. catalog: name of the Iceberg catalog.
    project: folder of the user's project, on the path of every worker. state: folder for logs.
    iceberg: ``rest:URL`` of the Iceberg catalog; empty: it is in the metadata database.
    """

    metadata: str
    warehouse: str
    catalog: str
    project: str
    state: str
    iceberg: str = ""
    access: Access = Access()

    @property
    def releases(self) -> str:
        """The folder above ``releases/``: readers map the files, so they lie on a disk always."""
        return self.state if "://" in self.warehouse else self.warehouse

    def __repr__(self) -> str:
        return f"Home(warehouse={self.warehouse!r}, project={self.project!r})"


class Work(msgspec.Struct, frozen=True):
    """One attempt at a step, as its kind sees it.

    inputs: ref -> what to read, pinned. meaning: hash of what the step makes; meanings: of each of
      its cells, where those are several.
    files: the folder for this attempt's files, which nobody reads until they are committed.
    engine: the name of the one that runs its tasks.
    """

    step: Step
    token: str
    attempt: str
    meaning: str
    inputs: Mapping[str, Read]
    files: str
    home: Home
    meanings: Mapping[str, str] = {}
    engine: str = ""


class StepKind(msgspec.Struct, frozen=True):
    """How steps of one kind are carried out.

    target: where they commit.
    tasks: the calls that write the attempt's files. change: what to commit, from how they ended.
    setup: called once a worker. gang: how many tasks start together.
    repeatable: True for a step that commits nowhere and may be done any number of times.
    inverse: the step kind that undoes it; None: rollback says that it has none.
    tries: attempts in all, of errors that may pass.
    """

    target: TargetKind
    tasks: Callable[[Work], Iterable[Task]]
    change: Callable[[Work, Sequence[Outcome]], Change]
    setup: Callable[[Work], Setup | None] | None = None
    gang: int = 1
    repeatable: bool = False
    inverse: str | None = None
    tries: int = 3


class NotYet(RunError):  # noqa: N818 - a verdict, not an accident
    """Raised by `tasks` or `change`: the outside world is not ready; try again at `until`."""

    def __init__(self, why: str, until: datetime) -> None:
        super().__init__(why)
        self.until = until
