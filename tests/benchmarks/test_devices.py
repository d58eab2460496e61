import json
import math
import os
import subprocess
import sys

import pytest
from absl import flags

from benchmarks import accelerator_timing, energy
from benchmarks.devices import cases, device_counts, environment, rows_path
from benchmarks.devices_table import Machine, merged, roof, share, table

HERE = Machine("a processor", "2 cores", "abc")


def stored(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_rows_of_a_case_replace_its_former_ones_on_that_machine():
    first = merged("", HERE, [{"devices": 1, "case": "loss", "ms": 2.0, "joules": math.nan}])
    assert "joules" not in first[0]
    two = [{"devices": n, "case": "lstm", "ms": n} for n in (1, 2)]
    rows = merged(stored(first), Machine("b", "1 core", "x"), two)
    rows = merged(stored(rows), HERE, two)
    assert [(row["case"], row["ms"]) for row in rows] == [
        ("loss", 2),
        *[("lstm", 1), ("lstm", 2)] * 2,
    ]
    later = Machine("a processor", "2 cores", "def")
    rows = merged(stored(rows), later, [{"devices": 2, "case": "lstm", "ms": 9.0}])
    assert [row["ms"] for row in rows if row["case"] == "lstm"] == [1, 2, 1, 9]
    assert rows[-1]["commit"] == "def"


def test_the_share_is_that_of_the_products_and_of_all_devices():
    product = {"case": "matmul", "type": "float32", "tera_per_s": 0.5, "ms": 4.0, "devices": 1}
    step = {"case": "step smoke w8a8", "model_tera_per_s": 0.25, "ms": 8.0, "devices": 2}
    step["audio_s_per_s"] = 12.5
    rows = merged("", HERE, [product, step, {"case": "x", "devices": 1, "problem": "failed"}])
    assert roof(rows, HERE.key) == 0.5
    assert math.isnan(roof(rows, "elsewhere"))
    assert share(rows[1], 0.5) == 0.25
    assert share(rows[1] | {"clock": "processor"}, 0.5) == 0.5
    lines = table(rows).splitlines()
    assert lines[2].endswith("| 4 | 100% | 500 GOp/s | - |")
    assert lines[3].endswith("| 2 | step smoke w8a8 | 8 | 25% | 12.5 s of audio a s | - |")
    assert "failed" in lines[4]


def test_only_what_devices_share_runs_on_several():
    assert {case.name[0] for case in cases("smoke", 2)} == {"step", "decode"}
    assert ("matmul",) in [case.name for case in cases("smoke", 1)]


def test_a_case_sees_as_many_devices_as_its_row_says(monkeypatch):
    assert environment("cpu", 2, {})["JAX_NUM_CPU_DEVICES"] == "2"
    both = {"ACCELERATOR_DEVICES": "2", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert environment("gpu", 2, {}) == both
    own = {"CUDA_VISIBLE_DEVICES": "5,GPU-ab,3"}
    assert environment("gpu", 2, own)["CUDA_VISIBLE_DEVICES"] == "5,GPU-ab"
    assert environment("tpu", 4, own) == {"ACCELERATOR_DEVICES": "4"}
    monkeypatch.setenv("ACCELERATOR_DEVICES", "99")
    with pytest.raises(SystemExit, match="ACCELERATOR_DEVICES=99"):
        accelerator_timing.check_devices()


def test_only_numbers_of_devices_that_can_be_had_are_measured():
    assert device_counts("gpu", 8) == [1, 8]
    assert device_counts("cpu", 1, [1, 2]) == [1, 2]
    assert device_counts("tpu", 4) == device_counts("tpu", 4, [4]) == [4]
    for platform, asked in (("tpu", [1]), ("tpu", [1, 4]), ("gpu", [5]), ("cpu", [0])):
        with pytest.raises(flags.ValidationError, match="--counts"):
            device_counts(platform, 4, asked)


def test_small_sizes_replace_no_measured_rows():
    assert rows_path("", tiny=False).name == "devices.jsonl"
    assert rows_path("mine.jsonl", tiny=True).name == "mine.jsonl"
    with pytest.raises(flags.ValidationError, match="--rows"):
        rows_path("", tiny=True)


def test_energy_is_the_difference_of_the_packages_counters(tmp_path):
    for package, (count, most) in enumerate(((10, 1000), (900, 1000))):
        folder = tmp_path / f"intel-rapl:{package}"
        folder.mkdir()
        (folder / "energy_uj").write_text(f"{count}\n")
        (folder / "max_energy_range_uj").write_text(f"{most}\n")
    meter = energy.EnergyMeter("cpu", tmp_path)
    meter.start()
    (tmp_path / "intel-rapl:0/energy_uj").write_text("40\n")
    (tmp_path / "intel-rapl:1/energy_uj").write_text("100\n")  # began anew
    assert meter.stop() == pytest.approx((30 + 200) / 1e6)
    none = energy.EnergyMeter("cpu", tmp_path / "nothing")
    none.start()
    assert math.isnan(none.stop())


def test_power_is_the_sum_over_the_visible_gpus_of_the_mean_of_their_samples():
    assert energy.total_power("0, 100.5\n0, 99.5\n0, [N/A]\n0") == 100
    assert energy.total_power("0, 100\n3, 40\n0, 200\n3, 50\n") == 150 + 45
    assert math.isnan(energy.total_power(""))
    assert math.isnan(energy.total_power("0, 100\n1, [N/A]\n"))
    assert energy.power_command({"CUDA_VISIBLE_DEVICES": "0,3"})[-2:] == ("-i", "0,3")
    assert "-i" not in energy.power_command({})


@pytest.mark.exhaustive  # tests/benchmarks/test_accelerator.py runs the cases on one device
def test_the_command_runs_here_on_two_devices(tmp_path):
    rows = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "benchmarks.devices", "--tiny", "--counts=2", f"--rows={rows}"]
    command += [f"--logs={tmp_path}"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert {row["case"].split()[0] for row in found} == {"step", "decode"}
    assert all(row["devices"] == 2 and row["ms"] > 0 for row in found)
    assert "step smoke w8a8" in done.stdout
