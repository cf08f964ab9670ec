"""Other stores, asked what the lake is asked, over the same rows; in an environment of their own, without groundlake.

`python -m peers NAME --data DIR --work DIR` (in `benchmarks/`) loads one of them and prints what it measured as JSON.
"""
