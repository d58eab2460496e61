import pytest

from experiments.examples import library


@pytest.mark.slow
def test_a_foreign_model_learns_in_floating_point_and_on_the_chip():
    report = library.main()
    assert report["last, float"] < 0.2 * report["first, float"]
    assert report["last, on the chip"] < 0.2 * report["first, float"]
