"""A user's project: the specs that its modules and YAML files declare.

Python specs are found by reading the names of the modules in ``specs/``; nothing registers itself.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import msgspec

from bowerbird.core.codec import Kinds, read_yaml
from bowerbird.core.errors import BowerbirdError, PlanError, RefError, SpecError
from bowerbird.core.functions import IMPORTING
from bowerbird.core.refs import Ref
from bowerbird.core.specs import Spec


class Declared(msgspec.Struct, frozen=True):
    """A spec and the place that declares it."""

    spec: Spec
    where: str


def load_specs(project: Path, folder: str, kinds: Kinds) -> dict[str, Declared]:
    """Every spec of a project, by ref. Raises an error that names the file and the field."""
    root = project / folder
    if not root.is_dir():
        raise SpecError(
            f"there is no folder {folder}",
            where=str(project),
            expected="a folder of Python modules and YAML files that declare specs",
            fix="bowerbird init",
        )
    found: dict[str, Declared] = {}
    with IMPORTING:
        all_of_it = [*_from_python(project, root), *_from_yaml(project, root, kinds)]
    for declared in all_of_it:
        ref = str(declared.spec.ref)
        other = found.get(ref)
        if other is not None and other.spec is not declared.spec:
            same = other.where == declared.where
            raise PlanError(
                f"two specs are named {ref}",
                where=f"{other.where}, twice" if same else f"{other.where} and {declared.where}",
                expected="one spec a name",
                fix="rename one of them",
            )
        found.setdefault(ref, declared)
    _check_refs(found)
    _check_order(found)
    return found


def put_on_path(project: Path) -> None:
    """Make the project's modules importable, as they are on disk now and in place of another's."""
    with IMPORTING:
        _put_on_path(project)


def _put_on_path(project: Path) -> None:
    here = str(project)
    if here in sys.path:
        sys.path.remove(here)
    sys.path.insert(0, here)
    own = {path.stem for path in project.glob("*.py")}
    own |= {path.name for path in project.iterdir() if path.is_dir() and path.name.isidentifier()}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if (file and _is_of(project, file)) or name.partition(".")[0] in own & _SHARED:
            del sys.modules[name]
    importlib.invalidate_caches()


def _is_of(project: Path, file: str) -> bool:
    """Whether a module is the project's own; an environment in its folder is not."""
    path = Path(os.path.normpath(file))
    return path.is_relative_to(project) and not path.is_relative_to(os.path.normpath(sys.prefix))


_SHARED = {"specs"}
"""A folder that every project has: its modules are never another project's."""


def _from_python(project: Path, root: Path) -> Iterable[Declared]:
    put_on_path(project)
    for path in _files(root, ".py"):
        _forget_compiled(path)
        relative = path.relative_to(project).with_suffix("")
        name = ".".join(relative.parts)
        if relative.name == "__init__":
            continue
        try:
            module = importlib.import_module(name)
        except BowerbirdError as error:
            error.within(f"{path.relative_to(project)}{_line(error, path)}")
            raise
        except (Exception, SystemExit) as error:
            raise SpecError(
                f"cannot be imported: {type(error).__name__}: {error}",
                where=f"{path.relative_to(project)}{_line(error, path)}",
                expected="a module that declares specs",
            ) from error
        for attribute, value in vars(module).items():
            if isinstance(value, Spec):
                where = f"{path.relative_to(project)}: {attribute}"
                yield Declared(_checked(value, where), where)


def _files(root: Path, *endings: str) -> list[Path]:
    """Files of specs. What begins with a dot is an editor's own, or a tool's."""
    found = [path for path in root.rglob("*") if path.suffix in endings]
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _forget_compiled(path: Path) -> None:
    """Read a spec as it is on disk: Python takes a compiled file for fresh if size and second of
    the source agree, so an edit within the second that keeps the size would not be seen."""
    with suppress(OSError):
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def _line(error: BaseException, path: Path) -> str:
    """``:12`` where the error left the user's file."""
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f":{line}" if line else ""


def _checked(spec: Spec, where: str) -> Spec:
    """A spec made in Python, checked as one from YAML is."""
    try:
        spec.check()
    except BowerbirdError as error:
        error.within(where)
        raise
    return spec


def _from_yaml(project: Path, root: Path, kinds: Kinds) -> Iterable[Declared]:
    for path in _files(root, ".yaml", ".yml"):
        where = str(path.relative_to(project))
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SpecError(f"not UTF-8: {error.reason}", where=where) from None
        for spec in read_yaml(text, kinds, where):
            yield Declared(spec, where)


def _check_refs(found: dict[str, Declared]) -> None:
    for declared in found.values():
        for field, ref in declared.spec.refs().items():
            where = f"{declared.where}: {field}"
            try:
                Ref.parse(ref)
            except RefError as error:
                error.within(where)
                raise
            if ref not in found:
                near = difflib.get_close_matches(ref, found, n=1)
                raise RefError(
                    f"nothing is named {ref}",
                    where=where,
                    expected=f"{near[0]}?" if near else "the ref of a spec of this project",
                )


def _check_order(found: dict[str, Declared]) -> None:
    """Plans would find a circle too, but only of what is made, and without the places."""
    reads = {ref: declared.spec.refs().values() for ref, declared in found.items()}
    try:
        TopologicalSorter(reads).prepare()
    except CycleError as error:
        circle = [*reversed(error.args[1])]
        raise PlanError(
            f"specs read each other in a circle: {' → '.join(circle)}",
            where=" and ".join(dict.fromkeys(found[ref].where for ref in circle)),
            expected="an order in which each is made from what was made before",
            fix="take one of these references out",
        ) from None
