"""Which policies the sweep's flags ask for."""

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import sweep
from rnnt_qat.quant.policies import policy_by_name


@pytest.fixture(autouse=True)
def parsed():
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


@pytest.mark.parametrize("changes", ["", "+mse", "+mse+unit_slope"])
def test_a_policy_and_each_of_its_parts_with_the_same_changes(changes):
    parts = ["encoder", "prediction", "joint", "weights", "activations", "gates", "state"]
    if "unit_slope" in changes:
        parts = parts[:3]
    with flagsaver.flagsaver(ablate=f"ethos_u_8x8_16_w4{changes}"):
        names = sweep._policies()
    assert names == tuple(
        f"ethos_u_8x8_16_w4{part}{changes}" for part in ("", *(f"@{part}" for part in parts))
    )
    for name in names:
        assert policy_by_name(name).name == name


def test_an_unknown_policy_is_refused_with_those_there_are():
    for flag in ({"policies": ["w9a9"]}, {"ablate": "w9a9"}):
        with (
            flagsaver.flagsaver(**flag),
            pytest.raises(flags.ValidationError, match="'w9a9'; ready-made: float32, w8a8"),
        ):
            sweep._policies()


def test_one_or_the_other():
    with (
        flagsaver.flagsaver(ablate="w8a8", policies=["w4a8"]),
        pytest.raises(flags.ValidationError, match="not both"),
    ):
        sweep._policies()
