"""`python -m stprompt_edge`: the command line."""

from stprompt_edge.cli import main

if __name__ == "__main__":
    main()
