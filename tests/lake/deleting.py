"""A position delete as Spark writes it; PyIceberg has no writer for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.table import Table as IcebergTable

from bowerbird.core.refs import Ref
from bowerbird.lake import Lake
from tests.lake.test_rollback import commit_deletes

_SCHEMA = pa.schema(
    [
        pa.field("file_path", pa.string(), False, {"PARQUET:field_id": "2147483546"}),
        pa.field("pos", pa.int64(), False, {"PARQUET:field_id": "2147483545"}),
    ]
)


def delete_rows(lake: Lake, ref: Ref | str, file: DataFile, places: Sequence[int]) -> str:
    """Delete the rows at these places of a file, in a commit of their own; the delete file."""
    table: IcebergTable = lake.load(ref)
    path = f"{table.location()}/data/deletes-{uuid4().hex[:8]}.parquet"
    rows = {"file_path": [file.file_path] * len(places), "pos": sorted(places)}
    pq.write_table(pa.table(rows, _SCHEMA), path)
    deletes = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format="PARQUET",
        partition=file.partition,
        record_count=len(places),
        file_size_in_bytes=Path(path).stat().st_size,
    )
    deletes.spec_id = file.spec_id
    commit_deletes(table, deletes)
    return path
