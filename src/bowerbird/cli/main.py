"""``bowerbird``: the commands, and how they end.

Exit codes: 0 done, or nothing to do; 1 a step failed; 2 what was asked cannot be done as asked;
3 somebody else got there first; 4 the run waits for something; 5 the workspace is not as it must
be; 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

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


# Typer brings a Click of its own: the root of its errors has no public name.
_USAGE: type[typer.BadParameter] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


INTERRUPTED = 130


def main() -> None:
    """The entry point: no traceback reaches a person for a mistake of theirs."""
    try:
        from bowerbird.cli import (  # noqa: F401 - they add to `app`
            commands,
            commands_demo,
            commands_features,
            commands_table,
        )

        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on: see `__main__`
        code = app(standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that is gone is understood
    except BowerbirdError as error:
        from bowerbird.cli import screen

        screen.error(error)
        sys.exit(error.exit_code)
    except _USAGE as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        code = _seen_enough()
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        code = _seen_enough()  # Typer saw the broken pipe first
    if code == INTERRUPTED:
        print("interrupted; the same command goes on from here", file=sys.stderr)
    sys.exit(code or 0)


def _seen_enough() -> int:
    """Whoever read our output has: what is still to be flushed goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
