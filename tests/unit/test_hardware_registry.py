from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from groundlake.errors import ContractViolationError, UsageError
from groundlake.hardware import PEAK_COLUMNS, HardwareSpec, find, load_spec, overlay, registry
from groundlake.layout import encode_key
from groundlake.schemas import Hardware
from groundlake.store import Lake

IDS_OF_THE_DATA = (
    "i7_12700K",
    "intel_core_i7_12700k",
    "jetson_orin_15w",
    "jetson_orin_30w",
    "jetson_orin_50w",
    "jetson_orin_maxn",
    "jetson_orin_agx_15w",
    "jetson_orin_agx_30w",
    "jetson_orin_agx_50w",
    "jetson_orin_agx_maxn",
    "ryzen_9_8945hs",
)
ASKED_FOR = ("jetson_orin_nx_maxn", "jetson_orin_nano_15w", "h100_sxm", "h100_pcie", "h200_sxm", "l4", "rtx_4090")
A100S = ("a100_sxm_40gb", "a100_sxm_80gb", "a100_pcie_40gb", "a100_pcie_80gb")
MODES = ("15w", "30w", "50w", "maxn")
TERM = re.compile(r"([\d.]+) [^x;]*? x ([\d.]+) (?:FLOP|OP|byte|transfers)/\w+ x ([\d.]+) MHz")


@pytest.mark.parametrize("hardware_id", [*IDS_OF_THE_DATA, *ASKED_FOR, *A100S])
def test_every_promised_device_is_in_the_registry_under_its_own_id(hardware_id):
    spec = registry()[hardware_id]
    assert spec.hardware_id == hardware_id
    assert spec.peaks["fp32"] > 0
    assert encode_key(hardware_id) == hardware_id


@pytest.mark.parametrize("spec", registry().values(), ids=registry())
def test_every_figure_names_its_source_and_every_gap_its_reason(spec):
    for figure, value in spec.figures().items():
        assert spec.sources.get(figure, "").strip(), f"{figure} has no source"
        told = spec.sources[figure].startswith(("unknown: ", "none: "))
        assert told == (value is None), f"{figure}: {value} but {spec.sources[figure]}"


@pytest.mark.parametrize("spec", registry().values(), ids=registry())
def test_a_computed_figure_is_what_its_method_says(spec):
    for figure, value in spec.figures().items():
        terms = TERM.findall(spec.sources[figure])
        if terms and figure.startswith("peak_"):
            computed = sum(float(a) * float(b) * float(c) * 1e6 for a, b, c in terms)
            assert value == pytest.approx(computed, rel=1e-9), figure


def test_methods_are_recognised_in_all_jetson_and_cpu_peaks():
    for spec in registry().values():
        if spec.hardware_id.startswith("jetson") or spec.device == "cpu":
            assert all(TERM.search(spec.peak_source(precision)) for precision in spec.peaks), spec.hardware_id


@pytest.mark.parametrize("family", ["jetson_orin_agx", "jetson_orin"])
def test_orin_peaks_follow_from_cores_and_clock_of_the_mode(family):
    peaks = [registry()[f"{family}_{mode}"].peaks["fp32"] / 1e9 for mode in MODES]
    assert peaks == pytest.approx([783, 1253, 4178, 5325], rel=1e-3)


def test_more_power_never_means_a_lower_peak():
    for precision in PEAK_COLUMNS:
        peaks = [registry()[f"jetson_orin_agx_{mode}"].peaks[precision] for mode in MODES]
        assert peaks == sorted(peaks)


@pytest.mark.parametrize("spec", [s for s in registry().values() if s.device == "cuda" and s.peaks])
def test_tensor_cores_are_never_slower_than_cuda_cores(spec):
    peaks = spec.peaks
    assert peaks["fp32"] <= peaks["tf32"] <= peaks["bf16"] == peaks["fp16"] <= peaks["int8"]
    assert peaks["bf16"] == pytest.approx(2 * peaks["tf32"], rel=0.02), "a sparse figure would break this"
    assert peaks["int8"] <= 4.05 * peaks["fp16"]


@pytest.mark.parametrize("spec", [s for s in registry().values() if s.device == "cuda" and s.peaks])
def test_fp32_is_two_operations_per_cuda_core_and_cycle(spec):
    assert spec.peaks["fp32"] == pytest.approx(2 * spec.compute_units * spec.clock_mhz * 1e6, rel=5e-3)


def test_known_data_sheet_figures():
    h100, h200, a100 = (registry()[name] for name in ("h100_sxm", "h200_sxm", "a100_sxm_80gb"))
    assert h100.peaks["bf16"] == pytest.approx(989.4e12)
    assert h100.peaks == h200.peaks
    assert h200.memory_bandwidth_bytes_per_s == pytest.approx(4.8e12)
    assert a100.peaks["tf32"] == pytest.approx(156e12)


def test_aliases_point_both_ways_and_share_every_figure():
    known = registry()
    for spec in known.values():
        for alias in spec.aliases:
            assert known[alias].aliases == (spec.hardware_id,)
            assert known[alias].figures() == spec.figures()
    assert known["i7_12700K"].aliases == ("intel_core_i7_12700k",)
    assert known["jetson_orin_maxn"].aliases == ("jetson_orin_agx_maxn",)


def test_the_registry_belongs_to_the_caller():
    registry().clear()
    assert registry()


def test_find_without_a_lake_knows_the_registry_only():
    assert find("jetson_orin_agx_30w").power_mode == "30W"
    assert find("I7_12700k") is None
    assert find("somebody_else") is None


def test_find_ignores_a_lake_that_does_not_exist_yet(lake_root):
    assert find("l4", Lake(lake_root)).name == "NVIDIA L4"
    assert overlay(Lake(lake_root)) == {}


def test_a_specification_survives_the_lake(lake_root):
    lake = Lake(lake_root)
    spec = registry()["jetson_orin_agx_50w"]
    lake.write_record(spec)
    read = find("jetson_orin_agx_50w", lake)
    assert read.figures() == spec.figures()
    assert read.sources == dict(spec.sources)
    assert (read.aliases, read.power_mode, read.vendor) == (spec.aliases, "50W", "NVIDIA")
    run = lake.runs("jetson_orin_agx_50w").row(0, named=True)
    assert (run["kind"], run["device"]) == ("hardware_spec", "cuda")


def test_the_overlay_wins_over_the_registry_and_its_latest_row_over_older_ones(lake_root):
    lake = Lake(lake_root)
    for peak in (1e12, 2e12):
        lake.write_record(_board("l4", peak))
    assert find("l4", lake).peaks == {"fp32": 2e12}
    assert find("l4").peaks["fp32"] == pytest.approx(30.3e12)


def test_an_overlay_holds_for_the_aliases_of_its_device(lake_root):
    lake = Lake(lake_root)
    lake.write_record(_board("jetson_orin_agx_maxn", 5e12))
    lake.write_record(_board("my_board", 3e12, aliases=("our_board",)))
    assert find("jetson_orin_maxn", lake).peaks == {"fp32": 5e12}
    assert find("our_board", lake).hardware_id == "my_board"
    assert set(overlay(lake)) == {"jetson_orin_agx_maxn", "my_board"}


def test_a_retracted_overlay_is_forgotten(lake_root):
    lake = Lake(lake_root)
    run_id = lake.write_record(_board("l4", 1e12))
    lake.retract(run_id, "l4", "wrong board")
    assert find("l4", lake).peaks["fp32"] == pytest.approx(30.3e12)


@pytest.mark.parametrize("spec", registry().values(), ids=registry())
def test_rows_meet_the_contract_of_the_table(spec):
    _, frames = spec.to_frames()
    Hardware.check(Hardware.conform(_with_run(frames["hardware"])))


def test_the_contract_refuses_an_impossible_figure():
    _, frames = _board("x1", -1.0).to_frames()
    with pytest.raises(ContractViolationError, match="peak_fp32_flops"):
        Hardware.check(Hardware.conform(_with_run(frames["hardware"])))


def test_the_example_of_the_documentation_is_read_as_yaml_and_as_json(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "hardware.md"
    example = re.search(r"```yaml\n(hardware_id:.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1]
    as_yaml = tmp_path / "board.yaml"
    as_yaml.write_text(example, encoding="utf-8")
    spec = load_spec(as_yaml)
    assert spec.hardware_id == "my_board_15w"
    assert spec.peaks["fp32"] == pytest.approx(2.088e12, rel=1e-3)
    assert "tf32" not in spec.peaks
    assert spec.peak_source("tf32").startswith("unknown: ")
    as_json = tmp_path / "board.json"
    entry = {
        "hardware_id": spec.hardware_id,
        "name": spec.name,
        "device": spec.device,
        "peaks": {"fp32": {"value": spec.peaks["fp32"], "source": spec.peak_source("fp32")}},
    }
    as_json.write_text(json.dumps(entry, indent="\t"), encoding="utf-8")
    assert load_spec(as_json).peaks["fp32"] == spec.peaks["fp32"]


GOOD = """
hardware_id: my_board
name: My board
device: cpu
clock_mhz: {value: 2000, source: its manual}
peaks:
  fp32: {value: 1.5e12, source: its manual}
"""


def test_a_number_without_the_sign_of_its_exponent_is_a_number(tmp_path):
    (tmp_path / "b.yaml").write_text(GOOD, encoding="utf-8")
    assert load_spec(tmp_path / "b.yaml").peaks == {"fp32": 1.5e12}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hardware_id: my_board", "", "hardware_id"),
        ("hardware_id: my_board", "hardware_id: 4090", "hardware_id"),
        ("hardware_id: my_board", "hardware_id: '4090'", "4090"),
        ("name: My board", "", "name"),
        ("device: cpu", "device: tpu", "cpu, cuda"),
        ("clock_mhz:", "clock:", "an unknown key"),
        ("2000", "fast", "a positive number"),
        ("2000", ".nan", "a positive number"),
        ("2000", "-1", "a positive number"),
        ("2000", "true", "a positive number"),
        ("fp32:", "fp33:", "fp32, tf32"),
        ("{value: 2000, source: its manual}", "2000", "where the figure comes from"),
        ("source: its manual}\npeaks", "source: ''}\npeaks", "name the document"),
        ("name: My board", "name: My board\nname: Other", "given twice"),
        ("name: My board", "name: [", "neither YAML nor JSON"),
        ("name: My board", "name: My board\naliases: other", "a list of texts"),
    ],
)
def test_a_bad_specification_is_refused_with_the_file_the_key_and_what_to_do(tmp_path, old, new, said):
    path = tmp_path / "board.yaml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_spec(path)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 6


def test_a_whole_number_is_asked_for_where_things_are_counted(tmp_path):
    path = tmp_path / "board.yaml"
    path.write_text(GOOD.replace("clock_mhz: {value: 2000", "compute_units: {value: 2.5"), encoding="utf-8")
    with pytest.raises(UsageError, match="whole number"):
        load_spec(path)


def test_a_missing_file_and_a_list_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_spec(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="mapping of keys"):
        load_spec(tmp_path / "list.yaml")


def _board(hardware_id: str, peak: float, aliases: tuple[str, ...] = ()) -> HardwareSpec:
    return HardwareSpec(
        hardware_id=hardware_id,
        name="A board",
        device="cuda",
        aliases=aliases,
        peaks={"fp32": peak},
        sources={"peak_fp32_flops": "measured on the bench"},
    )


def _with_run(frame):
    return frame.with_columns(run_id=frame["hardware_id"], part=frame["hardware_id"])
