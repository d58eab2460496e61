import pytest

from rnnt_qat.infra.durable_files import (
    changed_files,
    checksums,
    is_partial,
    replaced_folder,
    write_text,
)


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("keep")
    with pytest.raises(FileExistsError, match="mine"), replaced_folder(mine):
        pass
    assert mine.read_text() == "keep"
    assert list(tmp_path.iterdir()) == [mine]


def test_a_folder_takes_the_place_of_the_former_whole(tmp_path):
    target = tmp_path / "models/aware"
    for text in ("first", "second"):
        with replaced_folder(target) as folder:
            (folder / "file").write_text(text)
            assert is_partial(folder / "file", tmp_path)
            assert not (target / "file").exists() or text == "second"
        assert (target / "file").read_text() == text
    (target / "notes").write_text("the user's")

    def fill_the_disk():
        with replaced_folder(target) as folder:
            (folder / "file").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill_the_disk()
    assert (target / "file").read_text() == "second"
    with replaced_folder(target) as folder:
        (folder / "file").write_text("third")
    assert (target / "file").read_text() == "third"
    assert (target / "notes").exists()
    assert [p.name for p in target.parent.iterdir()] == ["aware"]


def test_a_file_keeps_its_content_until_the_new_one_is_written(tmp_path):
    path = tmp_path / "config.json"
    write_text(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text() == "first"
    write_text(path, "second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_checksums_tell_which_files_changed(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b", "sub/c", "time"):
        (tmp_path / name).write_text(name)
    sums = checksums(tmp_path, leave_out=["time"])
    assert list(sums) == ["a", "sub/b", "sub/c"]
    assert changed_files(tmp_path, sums) == []
    (tmp_path / "sub/b").write_text("B")
    (tmp_path / "sub/c").unlink()
    (tmp_path / "time").write_text("later")
    assert changed_files(tmp_path, sums) == ["sub/b", "sub/c"]
