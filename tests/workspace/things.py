"""A room for tests of the executor: a `Thing` does what its spec says, and is a release."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from bowerbird.core import codec
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import StepError, UnavailableError
from bowerbird.core.inside import tell
from bowerbird.core.meaning import tree_of
from bowerbird.core.plans import Want
from bowerbird.core.room import Room
from bowerbird.core.specs import Spec
from bowerbird.core.steps import NotYet, StepKind, TargetKind, Work
from bowerbird.core.targets import WHOLE, Change
from bowerbird.workspace.releases import ReleaseFiles


class Thing(Spec, frozen=True, kw_only=True):
    """does: what its step does before it writes its file: see `make`."""

    does: str = ""
    reads: tuple[str, ...] = ()

    def refs(self) -> dict[str, str]:
        return {f"reads[{index}]": ref for index, ref in enumerate(self.reads)}


class UnpicklableError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")
        self.held = Lock()  # cannot be pickled


def wants(spec: Thing, _specs: object) -> tuple[Want, ...]:
    definition = {"spec": tree_of(spec)}
    return (
        Want(str(spec.ref), "thing.make", definition, codec.encode(spec), reads=tuple(spec.reads)),
    )


def _spec(work: Work) -> Thing:
    spec = codec.decode(work.step.spec, {"Thing": Thing})
    assert isinstance(spec, Thing)
    return spec


def tasks(work: Work) -> list[Task]:
    if _spec(work).does == "wait" and not Path(work.home.project, "ready").exists():
        raise NotYet("the world is not ready", datetime.now(UTC) + timedelta(hours=1))
    does, project = _spec(work).does, work.home.project
    return [Task("make", "tests.workspace.things:make", (does, project, work.files))]


def make(does: str, project: str, folder: str) -> int:
    """In a worker."""
    with (Path(project) / "made").open("a") as file:
        file.write(f"{Path(folder).parts[-4]}\n")
    match does:
        case "raise":
            raise ValueError("as it was told to")
        case "raise twice":
            tried = Path(project) / "tried"
            tried.write_text(tried.read_text() + "x" if tried.exists() else "x")
            if len(tried.read_text()) <= 2:
                raise UnavailableError("not this time")
        case "always away":
            raise UnavailableError("away for good")
        case "unpicklable":
            raise UnpicklableError("this", "that")
        case "exit":
            raise SystemExit(3)
        case "meet":
            meet(Path(project))
        case "hang":
            Path(project, "hanging").touch()
            end = time.monotonic() + 30
            while not Path(project, "go").exists() and time.monotonic() < end:
                time.sleep(0.02)
    tell("halfway there", done=1, total=2)
    Path(folder).mkdir(parents=True)
    Path(folder, "thing.txt").write_text(does)
    return 1


def meet(project: Path) -> None:
    """Return once two are in here at the same time."""
    mine = project / f"met-{time.monotonic_ns()}"
    mine.touch()
    end = time.monotonic() + 20
    while len(list(project.glob("met-*"))) < 2:
        if time.monotonic() > end:
            raise StepError("nobody else came")
        time.sleep(0.01)


def change(work: Work, _: Sequence[Outcome]) -> Change:
    return Change(
        attempt=work.attempt,
        makes={WHOLE: work.meaning},
        overwrites=(WHOLE,),
        payload=ReleaseFiles.of(work.files),
        results={"bytes": 7},
    )


MAKE = StepKind(TargetKind.RELEASE, tasks, change, inverse="release.rollback")

ROOM = Room(
    name="things",
    title="For tests",
    specs={"Thing": "tests.workspace.things:Thing"},
    wants={"Thing": "tests.workspace.things:wants"},
    steps={"thing.make": "tests.workspace.things:MAKE"},
)
