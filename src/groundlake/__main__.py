"""`python -m groundlake` is `lake`."""

from groundlake.cli import main

if __name__ == "__main__":
    main()
