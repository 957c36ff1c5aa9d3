"""``bowerbird``, and ``python -m bowerbird``: from the first moment Ctrl-C ends it without a word
of Python's own."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Load the commands, which takes a moment, and be one."""
    # While modules load there is nothing to put right, and an exception could be lost in any of
    # them: the kernel ends us.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
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
