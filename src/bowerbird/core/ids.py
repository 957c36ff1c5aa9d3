"""Run ids: UUIDv7 (RFC 9562), so that ids sort by the time they were made."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime


def uuid7(now: datetime) -> str:
    """A new id: 48 bits of milliseconds, then 74 random ones."""
    milliseconds = int(now.timestamp() * 1000)
    value = (milliseconds & ((1 << 48) - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
