"""Every error of the house, on one page.

::

    BowerbirdError
    ├── UserError                 what was asked cannot be done as asked          (exit 2)
    │   ├── RefError              a name that is no ref, or a ref to nothing
    │   ├── SpecError             a spec that does not decode or contradicts itself
    │   ├── FunctionError         a named function that cannot be imported or given a meaning
    │   ├── SettingsError         a bad or missing setting
    │   ├── RefusedError          results that a check does not let through; carries what it found
    │   └── PlanError             specs that cannot become a plan (a cycle, two specs with one name)
    ├── ConflictError             somebody else got there first                   (exit 3)
    │   ├── PlanAgainError        the world moved on since the plan was made
    │   ├── RunInProgressError    a live run already writes what this one would
    │   └── LeaseLostError        the lease of a step was taken over
    ├── WorkspaceError            the workspace itself is not as it must be       (exit 5)
    │   ├── UnavailableError      a database or a disk that does not answer now   (retryable)
    │   ├── StorageError          a full or read-only disk
    │   ├── CorruptError          a file or a record that is damaged
    │   └── NewerWorkspaceError   written by a later version of Bowerbird
    └── RunError                  a run that did not end well                     (exit 1)
        ├── StepError             a step raised; carries what it raised
        ├── CommitConflictError   another commit came between load and commit     (retryable)
        ├── LostWorkerError       a worker died under a task                      (retryable)
        └── CancelledError        somebody cancelled the run

An error says what was wrong, what was expected and what to type next. It survives pickling, so
that it can cross from a worker to the driver.
"""

from __future__ import annotations

from typing import Any, ClassVar


class BowerbirdError(Exception):
    """The root. `problem` alone is enough; `expected` and `fix` are printed under it.

    where: the place in the user's words: ``specs/tables.yaml: spec.partition[0].n``.
    """

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.expected = expected
        self.fix = fix

    def within(self, place: str) -> None:
        """Say the place around the one that it names already."""
        self.where = f"{place}: {self.where}" if self.where else place

    def __str__(self) -> str:
        head = f"{self.where}: {self.problem}" if self.where else self.problem
        tail = [f"  expected: {self.expected}"] if self.expected else []
        tail += [f"  try: {self.fix}"] if self.fix else []
        return "\n".join([head, *tail])

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own pickling would call the class with `args` alone and lose the keywords.
        return _rebuild, (type(self), self.problem, self.__dict__)


def _rebuild(kind: type[BowerbirdError], problem: str, state: dict[str, object]) -> BowerbirdError:
    error = kind.__new__(kind, problem)
    Exception.__init__(error, problem)
    error.__dict__.update(state)
    return error


class UserError(BowerbirdError):
    """What was asked cannot be done as it was asked."""

    exit_code = 2


class RefError(UserError):
    """A name that is no ref, or a ref to something that is not there."""


class SpecError(UserError):
    """A spec that does not decode, or whose fields contradict each other."""


class FunctionError(UserError):
    """A named function that cannot be imported, or whose meaning cannot be told."""


class SettingsError(UserError):
    """A setting that is missing, unknown or of the wrong type."""


class RefusedError(UserError):
    """Results that a check does not let through. results: what it found, kept with the step."""

    def __init__(
        self, problem: str, *, results: dict[str, Any] | None = None, **told: str | None
    ) -> None:
        super().__init__(problem, **told)
        self.results = results or {}


class PlanError(UserError):
    """Specs that decode but cannot become a plan together."""


class ConflictError(BowerbirdError):
    """Somebody else got there first; nothing of ours was written."""

    exit_code = 3


class PlanAgainError(ConflictError):
    """The world moved on since the plan was made: the plan's base is gone or was changed."""


class RunInProgressError(ConflictError):
    """A live run writes what this one would write."""


class LeaseLostError(ConflictError):
    """The lease of a step was taken over by another holder while the step ran."""


class WorkspaceError(BowerbirdError):
    """The workspace is not as it must be."""

    exit_code = 5


class UnavailableError(WorkspaceError):
    """A database or a service that does not answer now."""

    retryable = True


class StorageError(WorkspaceError):
    """A disk that is full or cannot be written."""


class CorruptError(WorkspaceError):
    """A file or a record that is damaged."""


class NewerWorkspaceError(WorkspaceError):
    """A workspace that a later version of Bowerbird has written."""


class RunError(BowerbirdError):
    """A run that did not end well."""


class StepError(RunError):
    """A step raised; `problem` tells what, the step's log holds the traceback."""


class CommitConflictError(RunError):
    """Another commit came between our load and our commit."""

    retryable = True


class LostWorkerError(RunError):
    """A worker died under a task."""

    retryable = True


class CancelledError(RunError):
    """Somebody cancelled the run."""
