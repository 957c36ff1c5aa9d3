"""The latest rows of a pinned version, written as a release's files."""

from __future__ import annotations

from pathlib import Path

from bowerbird.core.errors import UserError
from bowerbird.core.inside import tell
from bowerbird.data.features.online.files import write_online
from bowerbird.data.features.online.rows import About, latest
from bowerbird.data.features.online.specs import Online
from bowerbird.data.making import Job, Made


def publish(job: Job) -> Made:
    """In a worker. What happened until the latest row's moment is in the release."""
    import pyarrow.compute as pc

    spec = job.spec(Online)
    columns = [*spec.key, spec.at, *spec.columns] if spec.columns else None
    rows = job.table(spec.source, columns=columns)
    if not rows.num_rows:
        raise UserError(f"{spec.source} has no row to publish", where=str(spec.ref))
    kept = latest(rows, spec.key, spec.at)
    tell(f"{kept.num_rows:,} keys of {rows.num_rows:,} rows")
    version = str(job.inputs[spec.source].version)
    about = About(str(spec.ref), version, pc.max(kept[spec.at]).as_py(), spec.key)
    contents = write_online(Path(job.folder), kept, about)
    return Made(
        note={"rows": contents.rows, "version": version, "fresh": about.fresh.isoformat()},
        results={"rows": contents.rows},
    )
