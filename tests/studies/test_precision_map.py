from PIL import Image

from rnnt_qat.quant.policies import build_policy, parse_policy, policy_by_name
from rnnt_qat.studies.precision_map import AXES, Axis, points, policies, write_map
from rnnt_qat.studies.sweep import System

UNITS = Axis("Units", "gate.unit", ("table64", "plan", "hard"))
CELL = Axis("Cell", "cell.bits", (16, 8))


def test_every_point_differs_from_the_chip_in_one_field():
    for base in ("generic_nna", "generic_nna_crude"):
        own = policy_by_name(base).rules[0].precision.spec
        lines = policies(base)
        assert lines[0] == base
        assert len(lines) == len(set(lines)) > 30
        for point in points(base):
            (change,) = set(parse_policy(point.policy).default.changes) or {None}
            chip = policy_by_name(point.policy).rules[0].precision.spec
            assert (chip == own) == (change is None) == (point.policy == base)
            assert change is None or change.field == point.axis.field
        assert {axis.field for axis in AXES} == {point.axis.field for point in points(base)}


def test_the_rest_of_the_policy_stays():
    found = policies("generic_nna[joint:float32]+mse", (CELL,))
    assert found == (
        "generic_nna[joint:float32]+mse",
        "generic_nna{cell.bits=8}[joint:float32]+mse",
    )
    assert build_policy(parse_policy(found[1])).observer == policy_by_name("w8a8+mse").observer


def row(system, difference, half):
    low, high = difference - half, difference + half
    return {
        "system": system.name,
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
    }


def test_the_page(tmp_path):
    losses = {
        "generic_nna": (0.001, 0.0),
        "generic_nna{gate.unit=table64}": (0.002, 0.001),
        "generic_nna{gate.unit=plan}": (0.02, 0.001),
        "generic_nna{gate.unit=hard}": (0.2, 0.04),
    }
    (tmp_path / "b").mkdir()
    systems = [System(p, stage, 1000) for p in losses for stage in ("calibration", "aware")]
    rows = [row(s, losses[s.policy][s.stage == "aware"], 0.005) for s in systems]
    page = write_map(tmp_path, "generic_nna", {"set": rows}, systems, (UNITS, CELL)).read_text()
    assert "| Units | `table64` | `plan` |" in page
    assert "| Cell | not measured | not measured |" in page
    assert "| `hard` | **+20.0 [+19.5, +20.5]** | **+4.0 [+3.5, +4.5]** | 80 % |" in page
    assert "| `table64` | +0.2 [-0.3, +0.7] | +0.1 [-0.4, +0.6] |  |" in page
    assert "| `16` (the chip's) | +0.1 [" in page
    calibrated = [s for s in systems if s.stage == "calibration"]
    page = write_map(
        tmp_path / "b", "generic_nna", {"set": rows[::2]}, calibrated, (UNITS, CELL)
    ).read_text()
    assert "| axis | suffices, calibrated |\n" in page
    assert "| `hard` | **+20.0 [+19.5, +20.5]** |\n" in page
    with Image.open(tmp_path / "map_0.png") as image:
        assert image.width > image.height > 100
