"""Claims about figures for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bowerbird.portal import formats
from bowerbird.portal.views import Unit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.34, "340 ms"),
        (0.9996, "1.0 s"),
        (8.24, "8.2 s"),
        (59.96, "1 min"),
        (262.4, "4 min 22 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (int(3.41 * 2**30), "3.41 GiB"),
        (14.25 * 2**20, "14.2 MiB"),
        (212.4 * 2**20, "212 MiB"),
        (2**20 - 1, "1.00 MiB"),
    ],
)
def test_sizes(value: float, text: str) -> None:
    assert formats.size(value) == text


def test_a_sign_is_shown_only_where_there_is_a_difference() -> None:
    assert formats.signed(0.0257) == "+0.0257"
    assert formats.signed(-0.0011) == "−0.0011"
    assert formats.signed(-0.00001) == "0.0000"


def test_a_ratio_that_misses_does_not_read_as_one_that_hits() -> None:
    assert formats.times(1.096) == "1.096×"


def test_key_numbers_in_their_units() -> None:
    assert formats.amount(2469, Unit.PLAIN) == "2,469"
    assert formats.amount(0.23901, Unit.PLAIN) == "0.239"
    assert formats.amount("as it is", Unit.BYTES) == "as it is"
    assert formats.amount(float("nan"), Unit.SECONDS) == "–"
    assert formats.amount(float("nan"), Unit.PLAIN) == "–"


def test_a_moment_is_in_utc() -> None:
    assert formats.moment(datetime(2017, 12, 3, 17, 5, tzinfo=UTC)) == "3 Dec 2017, 17:05 UTC"
