"""The rooms, looked up by what they offer; a name that nobody offers is told with the closest."""

from __future__ import annotations

import pytest

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import FunctionError, RefError, SpecError
from bowerbird.core.registry import Registry
from bowerbird.core.room import Room
from bowerbird.core.steps import Home, StepKind, TargetKind
from bowerbird.rooms import registry
from tests.core.kinds import Group

ROOM = Room(
    name="groups",
    title="For tests",
    specs={"Group": "tests.core.kinds:Group"},
    steps={"group.fill": "tests.core.kinds:KINDS", "group.gone": "tests.core.nowhere:GONE"},
)
HOME = Home("", "", "", "", "")


def test_two_rooms_with_one_name_for_two_things_are_refused() -> None:
    with pytest.raises(SpecError, match="two rooms offer specs 'Group'") as caught:
        Registry([ROOM, Room("others", "", specs={"Group": "elsewhere:Group"})])
    assert caught.value.where == "room others"


def test_a_step_kind_that_nobody_offers_is_told_with_the_closest() -> None:
    with pytest.raises(RefError) as caught:
        Registry([ROOM]).step_kind("group.full")
    assert caught.value.expected == "group.fill?"


def test_a_target_that_nobody_offers_is_told() -> None:
    with pytest.raises(RefError, match="'object'"):
        Registry([ROOM]).target(TargetKind.OBJECT, HOME, SystemClock(), "x:a/b")


def test_a_step_kind_of_another_type_is_our_own_mistake() -> None:
    with pytest.raises(TypeError, match=r"group\.fill is no StepKind"):
        Registry([ROOM]).step_kind("group.fill")


def test_a_module_of_a_room_is_imported_when_it_is_asked_for_and_not_before() -> None:
    found = Registry([ROOM])
    with pytest.raises(FunctionError, match=r"tests\.core\.nowhere"):
        found.step_kind("group.gone")


def test_a_kind_that_is_only_read_wants_nothing() -> None:
    assert Registry([ROOM]).wants(Group("a/b", entity="x"), {}) == ()


STANDING = [(room, name) for room in registry().rooms for name in room.steps]


@pytest.mark.parametrize(("room", "name"), STANDING, ids=[name for _, name in STANDING])
def test_every_step_kind_of_every_room_is_there(room: Room, name: str) -> None:
    kind = registry().step_kind(name)
    assert isinstance(kind, StepKind)
    assert kind.repeatable == (kind.target == TargetKind.NONE)
    assert kind.inverse is None or registry().step_kind(kind.inverse)


def test_every_spec_kind_of_every_room_is_there_under_its_own_name() -> None:
    for name, kind in registry().spec_kinds().items():
        assert kind.__name__ == name


@pytest.mark.parametrize("room", registry().rooms, ids=lambda room: room.name)
def test_whatever_a_room_names_can_be_imported(room: Room) -> None:
    from bowerbird.core.functions import load

    for names in (room.specs, room.wants, room.steps, room.targets, room.commands, room.views):
        for name in names.values():
            assert load(name) is not None
