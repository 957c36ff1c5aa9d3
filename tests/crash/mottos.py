"""A room in forty lines: a kind of spec whose release is one file made from a table's rows.

It stands in for every room that publishes releases; it is also what a new room starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bowerbird.core import codec
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.meaning import tree_of
from bowerbird.core.plans import Want
from bowerbird.core.room import Room
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import WHOLE, Change
from bowerbird.lake import Lake, read
from bowerbird.workspace.releases import ReleaseFiles


class Motto(Spec, frozen=True, kw_only=True):
    """All letters of a table, joined."""

    letters: str
    between: str = ""

    def refs(self) -> dict[str, str]:
        return {"letters": self.letters}


def wants(spec: Motto, _specs: object) -> tuple[Want, ...]:
    definition = {"spec": tree_of(spec)}
    envelope = codec.encode(spec)
    return (Want(str(spec.ref), "motto.publish", definition, envelope, reads=(spec.letters,)),)


def tasks(work: Work) -> list[Task]:
    spec = codec.decode(work.step.spec, {"Motto": Motto})
    assert isinstance(spec, Motto)
    version = work.inputs[spec.letters].version
    args = (work.home, spec.letters, version, spec.between, work.files)
    return [Task("motto", "tests.crash.mottos:write", args)]


def write(home: Home, ref: str, version: str, between: str, folder: str) -> int:
    rows = read(Lake(home), ref, version=version).to_pylist()
    path = Path(folder)
    path.mkdir(parents=True)
    text = between.join(row["letter"] for row in sorted(rows, key=lambda row: row["id"]))
    (path / "motto.txt").write_text(text)
    return len(text)


def change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    return Change(
        attempt=work.attempt,
        makes={WHOLE: work.meaning},
        overwrites=(WHOLE,),
        payload=ReleaseFiles.of(work.files),
        results={"bytes": outcomes[0].result()},
    )


PUBLISH = StepKind(TargetKind.RELEASE, tasks, change, inverse="release.rollback")

ROOM = Room(
    name="mottos",
    title="For tests",
    specs={"Motto": "tests.crash.mottos:Motto"},
    wants={"Motto": "tests.crash.mottos:wants"},
    steps={"motto.publish": "tests.crash.mottos:PUBLISH"},
)
