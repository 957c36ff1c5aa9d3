"""Alembic's entry: it is always given a connection by `workspace.database`, never a URL."""

from alembic import context

from bowerbird.workspace.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
