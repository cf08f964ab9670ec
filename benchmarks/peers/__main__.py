"""The command line of one store: what it measured is printed as JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import warnings
from pathlib import Path

from peers.measuring import STORES, appends, measure


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m peers", description=__doc__)
    parser.add_argument("name", choices=STORES)
    parser.add_argument("--data", type=Path, required=True, help="Folder with the rows as Parquet.")
    parser.add_argument("--work", type=Path, required=True, help="Folder for the store; emptied first.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--appends", action="store_true", help="Take appends instead.")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    if options.appends:
        result = appends(options.name, options.data, options.work)
    else:
        result = measure(options.name, options.data, options.work, options.repeats)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
