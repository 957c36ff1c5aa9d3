"""CSV and Parquet files as tables: what a folder holds, as specs; and the source that reads them.

A file is a table, and so is a folder of files of one kind, split by Hive's folders (``day=…/``) or
not. Types are what Arrow guesses: of Parquet they stand in the files, of CSV in the first megabyte.
Times without a zone are read as UTC. An empty field of a CSV file is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.data.features.interop.module import (
    Imported,
    TableText,
    column_name,
    distinct,
    module_text,
    spec_name,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pds

ENDINGS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}


class Seen(msgspec.Struct, frozen=True):
    """What files hold. columns: name in the files -> type, as a spec writes it. left: those of a
    type that no table has, with it. split: columns that stand in folders' names. zoneless: times
    that say no zone.
    """

    columns: dict[str, str]
    left: dict[str, str]
    split: tuple[str, ...]
    zoneless: tuple[str, ...]


def from_files(folder: Path, namespace: str) -> Imported:
    """A module with a table for each file and each folder of files.

    Raises `UserError` for a folder without any, or files that do not fit together.
    """
    if not folder.is_dir():
        raise UserError("is no folder", where=str(folder), expected="a folder of CSV or Parquet")
    places = [
        place
        for place in sorted(folder.iterdir())
        if not place.name.startswith((".", "_")) and (_ending(place) or _inside(place))
    ]
    if not places:
        raise UserError(
            "holds no file to import",
            where=str(folder),
            expected=f"files or folders of files that end in {', '.join(ENDINGS)}",
        )
    names = distinct(spec_name(place.stem if place.is_file() else place.name) for place in places)
    tables, notes = [], []
    for name, place in zip(names, places, strict=True):
        seen = look(place)
        table, told = table_of(name, place.name, seen)
        tables.append(table)
        notes += told
    notes.append(
        "a file that changes changes no spec: bowerbird apply --replace table:… reads anew"
    )
    about = f"Tables of the files in {folder.name}, by `bowerbird features import`."
    text = module_text(about, namespace, str(folder.resolve()), tables)
    return Imported(text, tuple(f"table:{namespace}/{name}" for name in names), tuple(notes))


def table_of(
    name: str, path: str, seen: Seen, renamed: Mapping[str, str] | None = None
) -> tuple[TableText, list[str]]:
    """The table of what was seen at a path, and notes. renamed: names that are given already."""
    given = renamed or {}
    made = distinct(column_name(given.get(column, column)) for column in seen.columns)
    names = dict(zip(seen.columns, made, strict=True))
    notes = [
        f"{name}: {column} is left out: no table has {kind}" for column, kind in seen.left.items()
    ]
    if seen.zoneless:
        notes.append(f"{name}: {', '.join(seen.zoneless)} say no zone and are read as UTC")
    table = TableText(
        name=name,
        schema={names[column]: kind for column, kind in seen.columns.items()},
        path=path,
        renamed={column: other for column, other in names.items() if column != other},
        partition=tuple(names[column] for column in seen.split),
    )
    return table, notes


def look(place: Path | str) -> Seen:
    """What a file or a folder of files holds. Raises `UserError` where they do not fit together."""
    import pyarrow as pa

    from bowerbird.lake.schema import declared_type

    found = _dataset(place, {})
    columns: dict[str, str] = {}
    left: dict[str, str] = {}
    for field in found.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        try:
            columns[field.name] = "string" if pa.types.is_null(kind) else declared_type(kind)
        except UserError:
            left[field.name] = str(kind)
    split = found.partitioning.schema.names if found.partitioning is not None else []
    return Seen(
        columns=columns,
        left=left,
        split=tuple(column for column in split if column in columns),
        zoneless=tuple(
            field.name
            for field in found.schema
            if pa.types.is_timestamp(field.type) and field.type.tz is None
        ),
    )


def read_files(
    place: Path | str, schema: Mapping[str, str], renamed: Mapping[str, str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a file or a folder of files, batch by batch, in a table's columns and types.

    schema: column -> type. renamed: a name in the files -> the column. Raises `UserError` for files
    that are not there, a column that they lack, or a value that is not of its type.
    """
    import pyarrow as pa

    from bowerbird.lake.schema import arrow_types
    from bowerbird.lake.types import parse

    wanted = arrow_types({name: parse(text) for name, text in schema.items()})
    back = {column: name for name, column in (renamed or {}).items()}
    names = {column: back.get(column, column) for column in schema}
    given = {names[field.name]: field.type for field in wanted}
    found = _dataset(place, given)
    lacking = [column for column, name in names.items() if name not in found.schema.names]
    if lacking:
        raise UserError(
            f"there is no column {names[lacking[0]]!r}",
            where=str(place),
            expected=f"one of: {', '.join(found.schema.names)}",
        )
    try:
        for batch in found.to_batches(columns=list(names.values())):
            yield pa.RecordBatch.from_arrays(
                [_as(batch.column(names[field.name]), field, str(place)) for field in wanted],
                schema=wanted,
            )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(
            f"{error}",
            where=str(place),
            expected="values of the types that the schema says",
            fix="declare the column as string, if it holds both",
        ) from error


def _as(values: pa.Array, field: pa.Field, where: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_timestamp(values.type) and values.type.tz is None:
        values = pc.assume_timezone(values.cast(pa.timestamp("us"), safe=False), "UTC")
    try:
        # Nanoseconds become microseconds: what no table keeps is cut off.
        return values.cast(field.type, safe=not pa.types.is_timestamp(field.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(
            f"{field.name!r} came as {values.type}: {error}", where=where, expected=f"{field.type}"
        ) from error


def _dataset(place: Path | str, given: Mapping[str, pa.DataType]) -> pds.Dataset:
    """Files as one dataset. given: types of columns of CSV that are known; others are guessed."""
    import pyarrow as pa
    import pyarrow.dataset as pds

    files = [str(place)] if "://" in str(place) else [str(one) for one in _files(Path(place))]
    kinds = {_ending(Path(one)) for one in files}
    if len(kinds) > 1:
        raise UserError(
            f"files of several kinds: {', '.join(sorted(map(str, kinds)))}",
            where=str(place),
            expected="one kind a folder",
        )
    (kind,) = kinds
    split = pds.partitioning(flavor="hive")
    single = isinstance(place, Path) and place.is_file()
    named: dict[str, Any] = {} if single else {"partitioning": split}
    try:
        first = pds.dataset(files, format=_format(kind, {}), **named)
        parts = [part.physical_schema for part in first.get_fragments()]
        whole = pa.unify_schemas([*parts, first.schema], promote_options="permissive")
        if kind != "parquet":
            # A time without a zone cannot be read as one with: Arrow refuses.
            types = {
                field.name: given[field.name]
                for field in whole
                if field.name in given and not pa.types.is_timestamp(field.type)
            }
            fields = [field.with_type(types.get(field.name, field.type)) for field in whole]
            whole = pa.schema(fields)
            return pds.dataset(files, schema=whole, format=_format(kind, types), **named)
        return pds.dataset(files, schema=whole, format=_format(kind, {}), **named)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(
            f"{error}",
            where=str(place),
            expected="files that are whole, of one kind and with the same columns",
        ) from error
    except (OSError, pa.ArrowKeyError) as error:
        raise UserError(f"cannot be read: {error}", where=str(place)) from error


def _format(kind: str | None, types: Mapping[str, pa.DataType]) -> Any:
    import pyarrow.csv as pacsv
    import pyarrow.dataset as pds

    if kind not in ("csv", "tsv"):
        return pds.ParquetFileFormat()
    return pds.CsvFileFormat(
        parse_options=pacsv.ParseOptions(delimiter="\t" if kind == "tsv" else ","),
        convert_options=pacsv.ConvertOptions(
            strings_can_be_null=True, quoted_strings_can_be_null=False, column_types=dict(types)
        ),
    )


def _files(place: Path) -> Sequence[Path]:
    if place.is_file():
        return [place]
    found = _inside(place)
    if not found:
        raise UserError(
            "no file is there", where=str(place), expected=f"files that end in {', '.join(ENDINGS)}"
        )
    return found


def _inside(place: Path) -> Sequence[Path]:
    if not place.is_dir():
        return []
    return sorted(
        one
        for one in place.rglob("*")
        if one.is_file()
        and _ending(one)
        and not any(part.startswith((".", "_")) for part in one.relative_to(place).parts)
    )


def _ending(place: Path) -> str | None:
    return ENDINGS.get(place.suffix.lower())
