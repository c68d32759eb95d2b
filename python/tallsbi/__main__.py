"""The command line: `tallsbi`, or `python -m tallsbi`."""

import sys

from . import _tallsbi


def main() -> int:
    """Runs the command line with the arguments of this process; its exit code.

    The process is the command line's from here on, its signals included.
    """
    if not hasattr(_tallsbi, "command_line"):
        print("error: this tallsbi was built without its command line; cargo install --path apps/command-line has it", file=sys.stderr)
        return 1
    return _tallsbi.command_line(["tallsbi", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
