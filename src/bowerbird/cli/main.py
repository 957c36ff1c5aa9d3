"""``bowerbird``: the commands, and how they end.

Exit codes: 0 done, or nothing to do; 1 a step failed; 2 what was asked cannot be done as asked;
3 somebody else got there first; 4 the run waits for something; 5 the workspace is not as it must
be; 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bowerbird import __version__
from bowerbird.core.errors import BowerbirdError

app = typer.Typer(
    help="From a row that changes in a database to a ranked feed.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _before(
    project: Annotated[str, typer.Option(help="folder with bowerbird.toml")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="which one")] = "",
) -> None:
    from pathlib import Path

    from bowerbird.cli.opening import WHERE

    WHERE.project = Path(project).resolve() if project else None
    WHERE.environment = environment or None


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""A mistyped command or option. Typer's own class or Click's: which one depends on its version."""


def main() -> None:
    """The entry point: no traceback reaches a person for a mistake of theirs."""
    from bowerbird.cli import commands, commands_demo  # noqa: F401 - they add to `app`

    try:
        code = app(standalone_mode=False)
    except BowerbirdError as error:
        from bowerbird.cli import screen

        screen.error(error)
        sys.exit(error.exit_code)
    except _USAGE_ERROR as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code or 0)
