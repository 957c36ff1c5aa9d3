"""Where tables are found: one Iceberg catalog, in the metadata database or behind REST."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from bowerbird.core.errors import PlanAgainError, RefError
from bowerbird.core.faults import point
from bowerbird.core.refs import Ref
from bowerbird.core.steps import Home
from bowerbird.lake import evolve, mends
from bowerbird.lake.failures import translated
from bowerbird.lake.files import Files
from bowerbird.lake.specs import Table

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.table import Table as IcebergTable

    from bowerbird.lake.rest import HouseRestCatalog
    from bowerbird.lake.sql import HouseCatalog


def identifier(ref: Ref | str) -> str:
    """``namespace.name`` of a table's ref; another kind's table is ``namespace.name__kind``.

    A text may be a ref, ``namespace/name`` or the identifier itself.
    """
    if isinstance(ref, str):
        if ":" not in ref:
            ref = f"table:{ref.replace('.', '/')}"
        ref = Ref.parse(ref)
    part = "" if ref.kind == "table" else f"__{ref.kind}"
    return f"{ref.namespace}.{ref.name}{part}"


def target_ref(ref: Ref | str) -> str:
    """The ref of a table as a step's target: `identifier` the other way round."""
    if ":" in str(ref):
        return str(ref)
    namespace, name = identifier(ref).split(".")
    name, _, kind = name.partition("__")
    return f"{kind or 'table'}:{namespace}/{name}"


@lru_cache(maxsize=8)
def _house_catalog(name: str, options: tuple[tuple[str, str], ...]) -> HouseCatalog:
    """Opened once a process: to look for its tables takes longer than to load one of ours, and a
    plan of 200 backfills opens a lake 400 times. It holds no connection."""
    from bowerbird.lake.sql import HouseCatalog

    return HouseCatalog(name, **dict(options))


class Lake:
    """The tables of one workspace. Cheap to open; holds no connection between calls."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.files = Files(home.warehouse, home.access)
        self._catalog: HouseCatalog | HouseRestCatalog | None = None

    def __repr__(self) -> str:
        return f"Lake({self.home!r})"

    @property
    def catalog(self) -> HouseCatalog | HouseRestCatalog:
        if self._catalog is None:
            with translated("opening the catalog"):
                self._catalog = self._opened()
        return self._catalog

    def _opened(self) -> HouseCatalog | HouseRestCatalog:
        mends.parse_schemas_once()
        mends.share_metadata()
        mends.read_manifests_once()
        home, properties = self.home, self.files.properties
        if home.iceberg:
            from bowerbird.lake.rest import open_rest

            return open_rest(home, self.files.root, properties)
        options = {"uri": home.metadata, "warehouse": self.files.root, **properties}
        return _house_catalog(home.catalog, tuple(sorted(options.items())))

    def io(self) -> FileIO:
        return self.files.io()

    def location(self, ref: Ref | str) -> str:
        """Where a table's files are, whether it is there yet or not."""
        table = self.find(ref)
        if table is not None:
            return str(table.location())
        return self.place(ref)

    def place(self, ref: Ref | str) -> str:
        """Where the files of a table that is not there yet will be."""
        namespace, name = identifier(ref).split(".")
        return f"{self.files.root}/{namespace}/{name}"

    def find(self, ref: Ref | str) -> IcebergTable | None:
        """The table as it is now; None if there is none."""
        from pyiceberg.exceptions import NoSuchTableError

        name = identifier(ref)
        try:
            with translated(f"loading {name}"):
                return self.catalog.load_table(name)
        except NoSuchTableError:
            return None

    def load(self, ref: Ref | str) -> IcebergTable:
        """The table as it is now. Raises `RefError` if there is none."""
        table = self.find(ref)
        if table is None:
            raise RefError(
                f"there is no table {identifier(ref)}",
                expected=f"one of: {', '.join(self.tables()) or 'none is there yet'}",
            )
        return table

    def exists(self, ref: Ref | str) -> bool:
        return self.find(ref) is not None

    def tables(self) -> tuple[str, ...]:
        """Identifiers of all tables, sorted."""
        with translated("listing tables"):
            found = (
                ".".join(one)
                for namespace in self.catalog.list_namespaces()
                for one in self.catalog.list_tables(namespace)
            )
            return tuple(sorted(found))

    def prepare(self, ref: Ref | str) -> None:
        """Before files are written for a table that may not be there yet.

        A REST catalog may keep a namespace as a folder (SeaweedFS does), and takes one that files
        have made before it for damaged.
        """
        if self.home.iceberg and not self.exists(ref):
            self._make_namespace(identifier(ref).split(".")[0])

    def _make_namespace(self, namespace: str) -> None:
        from pyiceberg.exceptions import NamespaceAlreadyExistsError

        with translated(f"creating {namespace}"), suppress(NamespaceAlreadyExistsError):
            self.catalog.create_namespace_if_not_exists(namespace)

    def create(self, spec: Table, ref: Ref | str | None = None) -> IcebergTable:
        """Make the table unless it is there: of several that try at once, all get the same one."""
        return self.make(spec.ref if ref is None else ref, spec)

    def make(self, ref: Ref | str, spec: Table | None) -> IcebergTable:
        """`create`, also without a spec: a place for a token that was burnt before a table was."""
        from pyiceberg.exceptions import TableAlreadyExistsError

        name = identifier(ref)
        new = evolve.new_metadata(spec, self.location(name))
        self._make_namespace(name.split(".")[0])
        with translated(f"creating {name}"), suppress(TableAlreadyExistsError):
            self.catalog.create_table(
                name,
                new.schema(),
                location=new.location,
                partition_spec=new.spec(),
                sort_order=new.sort_order(),
                # new_table_metadata takes the format version out of its properties.
                properties=new.properties | {"format-version": "2"},
            )
        point("lake.create.after")
        return self.load(name)

    def drop(self, ref: Ref | str, head: str | None = None) -> bool:
        """Remove a table and delete its files; False if there was none.

        head: the version that is to be dropped: `PlanAgainError` if the table is another by now.
        """
        name = identifier(ref)
        table = self.find(name)
        if table is None:
            # A drop that died between the row and the files: nobody else writes here meanwhile,
            # because the run that drops holds this target.
            location = self.place(name)
            self.files.delete(self.files.under(location))
            self.files.prune(location)
            return False
        current = table.metadata.current_snapshot_id
        if head is not None and str(current) != head:
            raise PlanAgainError(
                f"{name} was changed since the plan to drop it was made",
                expected=f"version {head}",
                fix="bowerbird plan, to see what would be dropped",
            )
        # Listed before, so that what a table made anew in the same place writes is not taken.
        listed = self.files.under(table.location())
        point("lake.drop.before")
        with translated(f"dropping {name}"):
            if not self.catalog.forget(table):
                raise PlanAgainError(
                    f"{name} was changed while it was being dropped",
                    fix="bowerbird plan, to see what would be dropped",
                )
        point("lake.drop.after")
        self.files.delete(listed)
        self.files.prune(table.location())
        return True
