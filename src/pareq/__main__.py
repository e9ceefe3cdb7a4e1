"""`python -m pareq` is `pareq`."""

from pareq.cli import main

if __name__ == "__main__":
    main()
