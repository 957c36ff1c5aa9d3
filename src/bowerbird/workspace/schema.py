"""The metadata database's tables, as SQLAlchemy knows them. `migrations/` makes them.

Moments are whole microseconds since 1970, UTC. What is only ever read whole is JSON.
"""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

VERSION = "0001"
"""The newest of `migrations/`: so that opening a database that has it need not load Alembic, which
takes as long as all else that a short command does."""

VERSIONS = sa.table("alembic_version", sa.column("version_num"))
"""Alembic's own table; it is never made from here."""

RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(36), unique=True, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("principal", sa.String(255), nullable=False),
    sa.Column("wants", sa.String(32), nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger),
)

STEPS = sa.Table(
    "steps",
    METADATA,
    sa.Column("run", sa.String(36), sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("step", sa.String(63), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(63), nullable=False),
    sa.Column("target", sa.String(255), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)

MEANINGS = sa.Table(
    "meanings",
    METADATA,
    sa.Column("hash", sa.String(32), primary_key=True),
    sa.Column("tree", sa.Text, nullable=False),
)

LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("holder", sa.String(255), nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
)

RELEASES = sa.Table(
    "releases",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(36), unique=True, nullable=False),
    sa.Column("ref", sa.String(255), nullable=False, index=True),
    sa.Column("parent", sa.String(36)),
    sa.Column("token", sa.String(127), nullable=False),
    sa.Column("entry", sa.Text, nullable=False),
    sa.Column("files", sa.Text),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("ref", "token", name="one_release_a_token"),
)

LIVE = sa.Table(
    "live",
    METADATA,
    sa.Column("ref", sa.String(255), primary_key=True),
    sa.Column("release", sa.String(36), sa.ForeignKey("releases.id"), nullable=False),
)

SPANS = sa.Table(
    "spans",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("trace_id", sa.String(32), nullable=False, index=True),
    sa.Column("span_id", sa.String(16), nullable=False),
    sa.Column("parent_span_id", sa.String(16)),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("start_time", sa.BigInteger, nullable=False),
    sa.Column("end_time", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("attributes", sa.Text, nullable=False),
)
