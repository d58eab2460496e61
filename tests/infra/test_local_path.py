import pytest

from rnnt_qat.infra.local_path import remote_path_message


@pytest.mark.parametrize("path", ["workdir/a", "/x/y", "C:/x", "a:b", "x//y", "gs:/b", ""])
def test_folders_are_folders(path):
    assert remote_path_message(path) is None


@pytest.mark.parametrize(
    "path", ["gs://bucket/run", "s3://b", "memory://a/b", "GS://b", "hf+x://y"]
)
def test_stores_are_named_with_a_way_out(path):
    message = remote_path_message(path)
    assert path.partition("/")[0] in message
    assert "mount" in message


def test_a_file_url_is_its_folder():
    assert remote_path_message("file:///data/run") == "give the folder itself: /data/run"
