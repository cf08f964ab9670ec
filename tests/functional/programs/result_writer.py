"""Save results into a folder, and say after each that it is there: `result_writer.py FOLDER TIMES`."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[2]))
from processes import result

readings = pl.DataFrame(
    {"timestamp_s": [0.0, 0.1], "gpu_power_w": [1.0, 2.0], "gpu_temperature_c": [40.0, 40.0], "gpu_index": [0, 0]}
)
for _ in range(int(sys.argv[2])):
    sys.stdout.write(f"{result().with_timeseries(readings).save(sys.argv[1])}\n")
    sys.stdout.flush()
