import json
import subprocess
import sys

from rnnt_qat.input_pipeline.tokenizer import load_tokenizer

TEXTS = ["press one for sales", "press two for support", "one moment please", "hold the line"] * 20


def train_tokenizer(data_dir, *flags):
    return subprocess.run(
        [
            *(sys.executable, "-m", "experiments.train_tokenizer", f"--data_dir={data_dir}"),
            *("--corpora=prompts", *flags),
        ],
        capture_output=True,
        text=True,
    )


def test_the_command_trains_on_a_corpus_and_says_what_is_wrong(tmp_path):
    version = tmp_path / "prompts" / "1.0.0"
    version.mkdir(parents=True)
    (version / "features.json").write_text("{}")
    rows = (
        {"id": str(i), "speaker": "s", "text": text, "num_samples": 1}
        for i, text in enumerate(TEXTS)
    )
    (version / "index-train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    output = tmp_path / "units" / "prompts.model"

    good = train_tokenizer(tmp_path, "--vocab_size=24", f"--output={output}")
    assert good.returncode == 0, good.stderr
    assert "24 labels from 80 transcripts" in good.stdout
    assert load_tokenizer(output).decode(load_tokenizer(output).encode(TEXTS[0])) == TEXTS[0]

    big = train_tokenizer(tmp_path, "--vocab_size=2400", f"--output={output}")
    assert big.returncode == 1
    assert "--vocab_size=2400" in big.stderr
    assert "Traceback" not in big.stderr
