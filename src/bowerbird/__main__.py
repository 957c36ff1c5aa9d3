"""``bowerbird``, and ``python -m bowerbird``: from the first moment Ctrl-C ends it without a word
of Python's own."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Load the commands, which takes a moment, and be one."""
    # While modules load there is nothing to put right, and an exception could be lost in any of
    # them: the kernel ends us.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if (sys.platform, os.uname().machine) == ("linux", "x86_64"):  # elsewhere Arrow may have none
        # It gives back what was freed: joins and writes peak at half of what they do otherwise
        # (docs/log.md). Workers inherit it.
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    from bowerbird.cli.main import INTERRUPTED
    from bowerbird.cli.main import main as command

    try:
        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # What is left is to end, and nothing there can catch an interruption.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
