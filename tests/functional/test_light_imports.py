"""What starts quickly loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "transformers", "altair", "pynvml", "scipy", "pandas", "pyspark", "vl_convert"}

CASES = {
    "import groundlake": ("import groundlake", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "lake --help": ("main(['--help'])", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "lake ingest --help": ("main(['ingest', '--help'])", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "lake report --help": ("main(['report', '--help'])", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "a usage error": ("main(['sql'])", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "from groundlake import Lake": ("from groundlake import Lake", HEAVY),
    "GroundTruthLoader": ("from groundlake import GroundTruthLoader", HEAVY),
    "lake sql": ("main(['init', '--root', 'x']); main(['sql', '--root', 'x', 'select 1'])", HEAVY),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_nothing_heavy_is_loaded(case: str, tmp_path) -> None:
    code, unwanted = CASES[case]
    program = (
        "import sys\n"
        "def main(arguments):\n"
        "    from groundlake.cli.app import app\n"
        "    try: app(arguments, prog_name='lake')\n"
        "    except SystemExit: pass\n"
        f"{code}\n"
        f"print('LOADED', *sorted({sorted(unwanted)!r} & sys.modules.keys()))"
    ).replace(f"{sorted(unwanted)!r}", f"set({sorted(unwanted)!r})")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"
