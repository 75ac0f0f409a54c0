"""The program: `stprompt-edge`, and `python -m stprompt_edge`."""

import sys


def main() -> None:
    """The command line; Ctrl-C is quiet from the first moment, while modules load."""
    try:
        from stprompt_edge.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        from stprompt_edge.errors import INTERRUPTED_EXIT_CODE

        sys.exit(INTERRUPTED_EXIT_CODE)


if __name__ == "__main__":
    main()
