"""The first tables: runs, steps, meanings, leases, releases, what is live, spans."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table. Written out, not taken from `schema`, which goes on changing."""
    op.create_table(
        "runs",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(36), unique=True, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("principal", sa.String(255), nullable=False),
        sa.Column("wants", sa.String(32), nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger),
    )
    op.create_table(
        "steps",
        sa.Column("run", sa.String(36), sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("step", sa.String(63), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(63), nullable=False),
        sa.Column("target", sa.String(255), nullable=False, index=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "meanings",
        sa.Column("hash", sa.String(32), primary_key=True),
        sa.Column("tree", sa.Text, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "releases",
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
    op.create_table(
        "live",
        sa.Column("ref", sa.String(255), primary_key=True),
        sa.Column("release", sa.String(36), sa.ForeignKey("releases.id"), nullable=False),
    )
    op.create_table(
        "spans",
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


def downgrade() -> None:
    """There is nothing before the first."""
    raise NotImplementedError
