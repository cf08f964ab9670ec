"""What starts quickly loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

OF_PANDERA = {"pandas", "pyspark"}  # it imports them where they are installed, which `lake` prevents in its own process
HEAVY = {"torch", "torchvision", "transformers", "altair", "pynvml", "scipy", "vl_convert"} | OF_PANDERA
HEAVY |= {"kvpress", "huggingface_hub", "tokenizers", "datasets", "httpx2", "jieba"}
HEAVY |= {"PIL", "onnx", "onnxruntime", "torchao"}

CASES = {
    "import groundlake": ("import groundlake", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "lake --help": ("main(['--help'])", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "lake ingest --help": ("main(['ingest', '--help'])", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "lake report --help": ("main(['report', '--help'])", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "a usage error": ("main(['sql'])", HEAVY | {"polars", "duckdb", "pyarrow", "pandera"}),
    "from groundlake import Lake": ("from groundlake import Lake", HEAVY - OF_PANDERA),
    "GroundTruthLoader": ("from groundlake import GroundTruthLoader", HEAVY - OF_PANDERA),
    "calibration sets": (
        "from groundlake.calibration import load_calibration_data; import groundlake.calibration.__main__",
        HEAVY | {"polars", "duckdb", "pyarrow", "pandera"},
    ),
    "building calibration sets": (
        "import groundlake.calibration.building, groundlake.calibration.sources.image_folder",
        HEAVY - OF_PANDERA,
    ),
    "settings of an evaluation": (
        "from groundlake.transition.configuration.config_file import load_settings; load_settings('sanity')",
        HEAVY - OF_PANDERA,
    ),
    "stages of an evaluation": (
        "from groundlake.transition import inference, report; import groundlake.transition.inference.run",
        HEAVY - OF_PANDERA,
    ),
    "lake sql": ("main(['init', '--root', 'x']); main(['sql', '--root', 'x', 'select 1'])", HEAVY),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_nothing_heavy_is_loaded(case: str, tmp_path) -> None:
    code, unwanted = CASES[case]
    program = (
        "import sys\n"
        "def main(arguments):\n"
        "    from groundlake.cli import main as lake\n"
        "    sys.argv = ['lake', *arguments]\n"
        "    try: lake()\n"
        "    except SystemExit: pass\n"
        f"{code}\n"
        f"print('LOADED', *sorted({sorted(unwanted)!r} & sys.modules.keys()))"
    ).replace(f"{sorted(unwanted)!r}", f"set({sorted(unwanted)!r})")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"
