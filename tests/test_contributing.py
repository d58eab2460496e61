"""The examples of CONTRIBUTING.md, executed one after the other as a reader would."""

import pathlib
import re

import jax
import numpy as np
import pytest
import soundfile

from rnnt_qat.input_pipeline.corpus import open_corpus

TEXT = (pathlib.Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.slow
def test_examples_run_and_do_what_they_say(tmp_path):
    # A module's own name, so that its classes can be pickled to workers; none is started below.
    names = {"__name__": "contributing"}
    for example in EXAMPLES:
        exec(compile(example, "CONTRIBUTING.md", "exec"), names)

    assert names["MY_CHIP"].name == "my_chip"
    assert np.isfinite(np.asarray(names["lattice"].encoded)).all()
    float_kernel = jax.tree.leaves(names["variables"]["params"]["encoder"])[0]
    assert float_kernel.dtype == np.float32
    assert names["search"] is not None

    rng = np.random.default_rng(0)
    for speaker in ("anna", "tom"):
        (tmp_path / "speech" / speaker).mkdir(parents=True)
        path = tmp_path / "speech" / speaker / "hello_there.wav"
        soundfile.write(path, 0.1 * rng.normal(size=16_000), 16_000)
    corpora = tmp_path / "corpora"
    names["MyCorpus"](folder=tmp_path / "speech", data_dir=corpora, workers=1).prepare()
    test = open_corpus(corpora, "my_corpus", "test")
    assert list(test.ids) == ["tom-hello_there"]
    assert list(test.texts) == ["hello there"]
