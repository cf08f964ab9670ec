from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from planted import plant

from groundlake import machine
from groundlake.errors import MissingDependencyError, UsageError
from groundlake.hardware import detect, find, judge, matches_this_machine, registry
from groundlake.hardware.cpu_peak import slugify
from groundlake.hardware.detection import mode_slug
from groundlake.layout import encode_key
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

ORIN_CONF = "".join(
    f"< POWER_MODEL ID={number} NAME={name} >\nCPU_ONLINE CORE_0 1\n"
    for number, name in enumerate(("MAXN", "MODE_15W", "MODE_30W", "MODE_50W"))
)
X86_FLAGS = "fpu sse2 avx avx2 fma f16c"
ARM_FEATURES = "fp asimd evtstrm aes fphp asimdhp"

FAKE_PYNVML = """
NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2
NAMES = {names!r}
STARTS = {starts!r}
SPLIT = {split!r}

class NVMLError(Exception):
    pass

class _Memory:
    total, used, free = 150754820096, 0, 150754820096

def nvmlInit():
    if not STARTS:
        raise NVMLError("Driver Not Loaded")

def nvmlShutdown():
    pass

def nvmlDeviceGetCount():
    return len(NAMES)

def nvmlDeviceGetHandleByIndex(index):
    if index >= len(NAMES):
        raise NVMLError("Invalid Argument")
    return index

def nvmlDeviceGetName(handle):
    return NAMES[handle]

def nvmlDeviceGetUUID(handle):
    return "GPU-%da2b-3c4d" % (handle + 1)

def nvmlDeviceGetMemoryInfo(handle, version=None):
    return _Memory()

def nvmlDeviceGetMigMode(device):
    if SPLIT is None:
        raise NVMLError("Not Supported")
    return [int(device in SPLIT), 0]

def nvmlSystemGetDriverVersion():
    return "570.86.10"
"""


@pytest.fixture
def gpu_server(nvidia_driver):
    """A server tree with an NVIDIA driver, and a module `pynvml` that lists the given GPUs."""

    def build(*names: str | bytes, starts: bool = True, split: tuple[int, ...] | None = None) -> Path:
        root = nvidia_driver(FAKE_PYNVML.format(names=names, starts=starts, split=split))
        return plant(root, x86("Intel(R) Xeon(R) Platinum 8468", cores=4))

    return build


def x86(model, *, cores, threads_per_core=1, flags=X86_FLAGS, vendor="GenuineIntel", family=6, mhz=2445.43, number=1):
    blocks = [
        f"processor\t: {core * threads_per_core + thread}\nvendor_id\t: {vendor}\ncpu family\t: {family}\n"
        f"model\t\t: {number}\nmodel name\t: {model}\ncpu MHz\t\t: {mhz}\nphysical id\t: 0\ncore id\t\t: {core}\n"
        f"flags\t\t: {flags}\n"
        for core in range(cores)
        for thread in range(threads_per_core)
    ]
    return {"proc/cpuinfo": "\n".join(blocks) + "\n", "proc/meminfo": "MemTotal:       24684096 kB\n"}


def arm(cores, *, part="0xd0c", features=ARM_FEATURES):
    blocks = [
        f"processor\t: {n}\nBogoMIPS\t: 50.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n"
        for n in range(cores)
    ]
    return {"proc/cpuinfo": "\n".join(blocks), "proc/meminfo": "MemTotal:       65000000 kB\n"}


def jetson(model, mode, *, memory_kb=64299764, conf=ORIN_CONF, max_freq=None):
    files = arm(8, part="0xd42") | {
        "proc/device-tree/model": f"{model}\0",
        "proc/meminfo": f"MemTotal:       {memory_kb} kB\n",
        "var/lib/nvpmodel/status": f"pmode:{mode:04d} fmode:quiet\n",
        "etc/nvpmodel.conf": conf,
    }
    if max_freq:
        files["sys/class/devfreq/17000000.ga10b/max_freq"] = f"{max_freq}\n"
    return files


AGX = "NVIDIA Jetson AGX Orin Developer Kit"


@pytest.mark.parametrize(("mode", "name"), [(0, "maxn"), (1, "15w"), (2, "30w"), (3, "50w")])
def test_an_agx_orin_is_found_with_its_power_mode_and_alias(tmp_path, mode, name):
    found = detect(plant(tmp_path, jetson(AGX, mode)))
    assert found.hardware_id == f"jetson_orin_agx_{name}"
    assert found.aliases == (f"jetson_orin_{name}",)
    assert found.device == "cuda"
    assert found.spec == registry()[found.hardware_id]


def test_the_board_is_read_from_the_firmware_folder_too(tmp_path):
    files = jetson(AGX, 2)
    files["sys/firmware/devicetree/base/model"] = files.pop("proc/device-tree/model")
    assert detect(plant(tmp_path, files)).hardware_id == "jetson_orin_agx_30w"


def test_an_orin_nx_and_an_orin_nano_are_told_apart(tmp_path):
    conf = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL NAME=10W ID=1 >\n< POWER_MODEL ID=2 NAME=15W >\n"
    nx = jetson("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 0, memory_kb=15_900_000, conf=conf)
    assert detect(plant(tmp_path / "nx", nx)).spec.peaks["fp32"] == pytest.approx(1880.064e9)
    nx15 = jetson("NVIDIA Jetson Orin NX", 2, memory_kb=15_900_000, conf=conf)
    assert detect(plant(tmp_path / "nx15", nx15)).hardware_id == "jetson_orin_nx_15w"
    nano = jetson("NVIDIA Jetson Orin Nano Developer Kit", 2, memory_kb=7_800_000, conf=conf)
    assert detect(plant(tmp_path / "nano", nano)).hardware_id == "jetson_orin_nano_15w"


def test_a_smaller_module_of_the_series_gets_an_id_of_its_own_and_no_peaks(tmp_path):
    found = detect(plant(tmp_path, jetson(AGX, 2, memory_kb=31_000_000)))
    assert found.hardware_id == "jetson_orin_agx_32gb_30w"
    assert found.spec.peaks == {}
    assert found.spec.peak_source("fp32").startswith("unknown: ")


def test_the_driver_s_clock_limit_corrects_the_registry(tmp_path):
    found = detect(plant(tmp_path, jetson(AGX, 3, max_freq=828_750_000)))
    assert found.spec.clock_mhz == pytest.approx(828.75)
    assert found.spec.peaks["fp32"] == pytest.approx(2048 * 2 * 828.75e6)
    assert "rescaled to 828.75 MHz" in found.spec.peak_source("fp16")
    assert any("rescaled" in line for line in found.evidence)


def test_the_same_clock_leaves_the_registry_alone(tmp_path):
    found = detect(plant(tmp_path, jetson(AGX, 0, max_freq=1_300_500_000)))
    assert found.spec == registry()["jetson_orin_agx_maxn"]


def test_an_unreadable_power_mode_is_not_guessed(tmp_path):
    files = jetson(AGX, 2)
    del files["etc/nvpmodel.conf"]
    found = detect(plant(tmp_path, files))
    assert found.hardware_id == "jetson_orin_agx"
    assert found.spec.peaks == {}
    assert any("power mode: unknown" in line for line in found.evidence)


@pytest.mark.parametrize(
    ("answer", "slug"),
    [
        ("NV Power Mode: MODE_15W\n2\n", "15w"),
        ("NVPM WARN: patching tpc_pg_mask\nNV Fan Mode:quiet\nNV Power Mode: MODE_30W_ALL\n2", "30w"),
        ("NV Power Mode: MAXN\n0", "maxn"),
        ("NV Power Mode: MAXN_SUPER\n2", "maxn_super"),
        ("NV Power Mode: 25W\n1", "25w"),
        ("NV Power Mode: MODE_15W_4CORE\n1", "15w_4core"),
        ("", None),
    ],
)
def test_the_answer_of_nvpmodel_is_read_by_name_not_by_number(answer, slug):
    assert mode_slug(machine.parse_power_mode(answer)) == slug


def test_an_i7_12700k_is_found_under_its_id_in_its_own_case(tmp_path):
    files = x86("12th Gen Intel(R) Core(TM) i7-12700K", cores=12)
    found = detect(plant(tmp_path, files))
    assert (found.hardware_id, found.aliases) == ("i7_12700K", ("intel_core_i7_12700k",))
    assert found.spec.peaks["fp32"] == pytest.approx(1497.6e9)


def test_a_ryzen_9_8945hs_is_found_with_its_graphics_in_the_name(tmp_path):
    files = x86("AMD Ryzen 9 8945HS w/ Radeon 780M Graphics", cores=8, vendor="AuthenticAMD", family=25)
    assert detect(plant(tmp_path, files)).hardware_id == "ryzen_9_8945hs"


def test_a_virtual_machine_with_a_part_of_a_known_processor_is_another_device(tmp_path):
    files = x86("12th Gen Intel(R) Core(TM) i7-12700K", cores=4, flags=X86_FLAGS + " hypervisor")
    assert detect(plant(tmp_path, files)).hardware_id == "intel_core_i7_12700k_4c"


def test_a_virtual_amd_epyc_is_named_by_its_cores_and_its_peak_is_an_estimate(tmp_path):
    files = x86(
        "AMD EPYC", cores=2, flags=X86_FLAGS + " hypervisor", vendor="AuthenticAMD", family=25, threads_per_core=2
    )
    found = detect(plant(tmp_path, files))
    assert found.hardware_id == "amd_epyc_2c"
    assert found.spec.peaks == {"fp32": pytest.approx(2 * 2445.43e6 * 32)}
    assert found.spec.peak_source("fp32").startswith("estimate: 2 cores x 2.445 GHz x 32 FLOP/cycle (AVX2, 2 FMA units")
    assert found.spec.peak_source("bf16") == "none: no bf16 arithmetic in its instruction sets"
    assert found.spec.memory_bytes == 24684096 * 1024


def test_the_maximum_clock_is_taken_before_the_current_one(tmp_path):
    files = x86("AMD Ryzen 7 5800X 8-Core Processor", cores=8, vendor="AuthenticAMD", family=25, mhz=550.0)
    files |= {f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq": "4850000\n" for n in range(8)}
    found = detect(plant(tmp_path, files))
    assert found.hardware_id == "amd_ryzen_7_5800x"
    assert found.spec.peaks["fp32"] == pytest.approx(8 * 4.85e9 * 32)


@pytest.mark.parametrize(
    ("model", "maker", "flags", "widths"),
    [
        ("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", ("GenuineIntel", 6, 106), "avx2 fma avx512f", (64, None)),
        (
            "Intel(R) Xeon(R) Platinum 8468",
            ("GenuineIntel", 6, 143),
            "avx2 fma avx512f avx512_bf16 amx_bf16",
            (64, 1024),
        ),
        ("AMD EPYC 9654 96-Core Processor", ("AuthenticAMD", 25, 17), "avx2 fma avx512f avx512_bf16", (32, 64)),
        ("AMD EPYC 7702 64-Core Processor", ("AuthenticAMD", 23, 49), "avx2 fma", (32, None)),
        ("AMD EPYC 7551 32-Core Processor", ("AuthenticAMD", 23, 1), "avx2 fma", (16, None)),
        ("Old CPU 1", ("GenuineIntel", 6, 1), "sse2", (8, None)),
    ],
)
def test_the_width_of_a_core_follows_its_instruction_sets(tmp_path, model, maker, flags, widths):
    vendor, family, number = maker
    flop, bf16 = widths
    files = x86(model, cores=4, vendor=vendor, family=family, number=number, flags=flags, mhz=2000.0)
    peaks = detect(plant(tmp_path, files)).spec.peaks
    assert peaks["fp32"] == pytest.approx(4 * 2e9 * flop)
    assert peaks.get("bf16") == (None if bf16 is None else pytest.approx(4 * 2e9 * bf16))


def test_an_arm_server_is_named_by_its_core_design_and_has_fp16(tmp_path):
    files = arm(16) | {f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq": "3000000" for n in range(16)}
    found = detect(plant(tmp_path, files))
    assert found.hardware_id == "arm_neoverse_n1_16c"
    assert found.spec.peaks["fp32"] == pytest.approx(16 * 3e9 * 16)
    assert found.spec.peaks["fp16"] == pytest.approx(2 * found.spec.peaks["fp32"])
    assert "asimdhp" in found.spec.peak_source("fp16")


def test_an_arm_server_without_a_clock_has_no_peak_but_a_reason(tmp_path):
    found = detect(plant(tmp_path, arm(4)))
    assert found.spec.peaks == {}
    assert found.spec.peak_source("fp32").startswith("unknown: no clock")


def test_an_empty_tree_still_gives_a_valid_id(tmp_path):
    found = detect(tmp_path)
    assert encode_key(found.hardware_id) == found.hardware_id
    assert any("no GPU" in line for line in found.evidence)


@pytest.mark.parametrize(
    ("name", "hardware_id"),
    [
        ("NVIDIA H200", "h200_sxm"),
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm_80gb"),
        ("NVIDIA A100-PCIE-40GB", "a100_pcie_40gb"),
        (b"NVIDIA L4", "l4"),
        ("NVIDIA GeForce RTX 4090", "rtx_4090"),
    ],
)
def test_a_gpu_is_found_by_the_name_the_driver_gives(gpu_server, name, hardware_id):
    found = detect(gpu_server(name))
    assert (found.hardware_id, found.device) == (hardware_id, "cuda")
    assert found.spec == registry()[hardware_id]
    assert any("driver 570.86.10" in line for line in found.evidence)


@pytest.mark.parametrize("name", ["NVIDIA H200 NVL", "NVIDIA RTX A6000", "NVIDIA GeForce RTX 4090 D"])
def test_a_gpu_that_only_resembles_a_known_one_keeps_its_own_name(gpu_server, name):
    found = detect(gpu_server(name))
    assert found.hardware_id == name.lower().replace(" ", "_")
    assert found.spec.peaks == {}
    assert found.spec.memory_bytes == 150754820096
    assert all(found.spec.sources.get(figure) for figure in found.spec.figures())


def test_the_processor_of_a_gpu_server_can_be_asked_for(gpu_server):
    assert detect(gpu_server("NVIDIA H200"), device="cpu").hardware_id == "intel_xeon_platinum_8468"


def test_a_driver_that_does_not_start_is_no_gpu_and_is_named(gpu_server):
    found = detect(gpu_server(starts=False))
    assert found.device == "cpu"
    assert any("Driver Not Loaded" in line for line in found.evidence)


@pytest.mark.parametrize(
    ("visible", "hardware_id"),
    [
        ("1", "l4"),
        ("", "intel_xeon_platinum_8468"),
        ("GPU-1a", "h200_sxm"),
        ("GPU-2a2b-3c4d,0", "l4"),
        ("GPU-", "intel_xeon_platinum_8468"),
        ("-1,0", "intel_xeon_platinum_8468"),
    ],
)
def test_the_visible_gpu_counts(gpu_server, monkeypatch, visible, hardware_id):
    root = gpu_server("NVIDIA H200", "NVIDIA L4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert detect(root).hardware_id == hardware_id


@pytest.mark.parametrize(
    ("visible", "device", "hardware_id"),
    [
        (None, "cuda", "h200_sxm"),
        (None, "cuda:0", "h200_sxm"),
        (None, "cuda:1", "l4"),
        ("1,0", "cuda:1", "h200_sxm"),
        ("GPU-2a,GPU-1a", "cuda", "l4"),
    ],
)
def test_the_gpu_that_is_meant_is_the_one_that_is_detected(gpu_server, monkeypatch, visible, device, hardware_id):
    root = gpu_server("NVIDIA H200", "NVIDIA L4")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = detect(root, device=device)
    assert (found.hardware_id, found.spec.peaks) == (hardware_id, registry()[hardware_id].peaks)


@pytest.mark.parametrize(
    ("visible", "device", "told"),
    [
        (None, "cuda:2", "cuda:0 is GPU 0, NVIDIA H200; cuda:1 is GPU 1, NVIDIA L4"),
        ("1", "cuda:1", "cuda:0 is GPU 1, NVIDIA L4"),
        ("", "cuda", "2 GPU, hidden by CUDA_VISIBLE_DEVICES="),
        ("0,-1,1", "cuda:2", "cuda:0 is GPU 0, NVIDIA H200\n"),
    ],
)
def test_a_gpu_that_is_not_there_is_missing_and_never_another_one(gpu_server, monkeypatch, visible, device, told):
    root = gpu_server("NVIDIA H200", "NVIDIA L4")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(MissingDependencyError, match=f"device {device}: ") as caught:
        detect(root, device=device)
    assert told in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_device_that_cannot_be_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="must be cpu or cuda, got 'tpu'"):
        detect(tmp_path, device="tpu")


@pytest.mark.parametrize(
    ("visible", "split", "why"),
    [
        ("MIG-1a2b", None, "CUDA_VISIBLE_DEVICES names MIG-1a2b"),
        ("MIG-GPU-1a2b-3c4d/1/0", (0,), "names MIG-GPU-1a2b"),
        (None, (0,), "MIG splits GPU 0 (NVIDIA H200)"),
        (None, (1,), "MIG splits GPU 1 (NVIDIA L4)"),
        ("GPU-1a", (0,), "MIG splits GPU 0"),
    ],
)
def test_a_slice_of_a_gpu_is_neither_the_board_nor_the_processor(gpu_server, monkeypatch, visible, split, why):
    root = gpu_server("NVIDIA H200", "NVIDIA L4", split=split)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for device in (None, "cuda", "cuda:1"):
        with pytest.raises(MissingDependencyError) as caught:
            detect(root, device=device)
        message = str(caught.value)
        assert why in message
        assert "nvidia-smi -i GPU -mig 0" in message
        assert len(message.splitlines()) <= 6
        assert caught.value.exit_code == 3


def test_a_whole_gpu_beside_a_sliced_one_is_measured_when_it_is_named(gpu_server, monkeypatch):
    root = gpu_server("NVIDIA H200", "NVIDIA L4", split=(0,))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert detect(root).hardware_id == "l4"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert detect(root, device="cpu").hardware_id == "intel_xeon_platinum_8468"


def test_ids_and_aliases_match_and_other_modes_do_not(tmp_path):
    found = detect(plant(tmp_path, jetson(AGX, 2)))
    assert matches_this_machine("jetson_orin_agx_30w", found)
    assert matches_this_machine("jetson_orin_30w", found)
    assert not matches_this_machine("jetson_orin_agx_maxn", found)
    assert not matches_this_machine("JETSON_ORIN_30W", found)


def test_another_power_mode_is_refused_with_the_mode_that_was_found(tmp_path):
    found = detect(plant(tmp_path, jetson(AGX, 2)))
    verdict = judge("jetson_orin_maxn", found)
    assert verdict.kind == "other_machine"
    assert "MAXN" in verdict.reason
    assert "30W" in verdict.reason
    assert "jetson_orin_agx_30w" in verdict.reason


def test_another_device_is_refused_and_a_new_name_is_taken(tmp_path):
    found = detect(plant(tmp_path, x86("AMD EPYC", cores=2)))
    assert judge("amd_epyc_2c", found).kind == "this_machine"
    assert judge("jetson_orin_agx_maxn", found).kind == "other_machine"
    assert judge("lab_box", found).kind == "new_name"
    assert judge("JETSON_ORIN_30W", found).kind == "other_machine"
    for short in ("h100", "H100", "jetson_orin", "rtx"):
        assert judge(short, found).kind == "other_machine"
    assert "h100_pcie, h100_sxm" in judge("h100", found).reason
    assert judge("h100box", found).kind == "new_name"


def test_a_new_name_becomes_a_row_that_the_lake_knows_by_both_names(tmp_path, lake_root):
    found = detect(plant(tmp_path / "root", x86("AMD EPYC", cores=2)))
    lake = Lake(lake_root)
    lake.write_record(found.spec_named("lab_box"))
    assert find("lab_box", lake).peaks == found.spec.peaks
    assert find("amd_epyc_2c", lake).hardware_id == "lab_box"


def test_an_alias_chosen_as_name_does_not_name_itself_as_alias(tmp_path):
    found = detect(plant(tmp_path, jetson(AGX, 2)))
    assert found.spec_named("jetson_orin_30w").aliases == ("jetson_orin_agx_30w",)


@pytest.mark.parametrize(("name", "slug"), [("8088", "device_8088"), ("  ", "device"), ("Ärger® 3", "rger_3")])
def test_an_id_is_never_all_digits_nor_empty(name, slug):
    assert slugify(name) == slug


def test_this_real_machine_gets_an_id_that_the_lake_accepts():
    found = detect()
    assert encode_key(found.hardware_id)
    assert found.evidence
    assert matches_this_machine(found.hardware_id, found)
    assert all(found.spec.sources.get(figure) for figure in found.spec.figures())
