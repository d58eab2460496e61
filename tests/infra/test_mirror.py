import json
import shutil
import time
import uuid

import pytest

from rnnt_qat.infra.durable_files import changed_files, checksums
from rnnt_qat.infra.mirror import DamagedUnitError, Layout, Mirror, MirrorThread, Unit
from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError, Retries
from rnnt_qat.infra.workdir_lock import WorkdirInUseError


def intact(folder):
    return not changed_files(folder, json.loads((folder / "sums").read_text()))


STEP = Unit(r"steps/\d+", "sums", lambda folder: True, intact, numbered=True)
LAYOUT = Layout((STEP,), r"[^/]+")


class CutFolder(RemoteFolder):
    """Ends with an error after a number of changes, as a killed process would."""

    changes_left = 10**6

    def _change(self):
        if not self.changes_left:
            raise KeyboardInterrupt
        self.changes_left -= 1

    def write(self, name, content):
        self._change()
        super().write(name, content)

    def upload(self, file, name):
        self._change()
        super().upload(file, name)

    def delete(self, names):
        for name in names:
            self._change()
            super().delete([name])


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/run"


@pytest.fixture
def local(tmp_path):
    folder = tmp_path / "local"
    folder.mkdir()
    return folder


def write_step(root, step, content="", records=""):
    folder = root / "steps" / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        (folder / name).write_text(f"{name} {step} {content}")
    (root / ".sums").write_text(json.dumps(checksums(folder, ["sums"])))
    (root / ".sums").rename(folder / "sums")  # a thread may look at any time
    (root / "records").write_text(records or f"up to {step}")


def pulled(url, tmp_path):
    """Returns what another machine finds: the content of each file, all units intact."""
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    Mirror(folder, RemoteFolder(url), LAYOUT).pull()
    steps = {}
    for step in sorted(folder.glob("steps/*")):
        assert intact(step)
        steps[step.name] = (step / "a").read_text()
    records = (folder / "records").read_text() if (folder / "records").exists() else ""
    return steps, records


def test_new_units_are_uploaded_and_those_deleted_are_deleted(url, local, tmp_path):
    mirror = Mirror(local, RemoteFolder(url), LAYOUT)
    mirror.pull()
    for step in (9, 10):
        write_step(local, step)
    (local / "steps/11").mkdir()  # not complete: no seal
    (local / ".hidden").write_text("x")
    (local / "other").mkdir()
    (local / "other/file").write_text("x")
    assert mirror.push() == ["steps/9", "steps/10"]
    assert pulled(url, tmp_path) == ({"9": "a 9 ", "10": "a 10 "}, "up to 10")
    assert {name.split("/")[0] for name in RemoteFolder(url).files()} == {"records", "steps"}
    assert mirror.push() == []

    (local / "records").write_text("grew")
    for name in ("a", "b", "sums"):
        (local / "steps/9" / name).unlink()
    mirror.push()
    assert "9" in pulled(url, tmp_path)[0]  # it may be in replacement
    mirror.push()
    assert pulled(url, tmp_path) == ({"10": "a 10 "}, "up to 10")
    mirror.push(final=True)
    assert pulled(url, tmp_path)[1] == "grew"


def test_an_upload_cut_anywhere_leaves_whole_units_and_records_as_new(url, local, tmp_path):
    """A new step, a step of other content, and a deletion, each cut after every change."""

    def change(root):
        write_step(root, 2, "anew", "up to 3")
        write_step(root, 3, records="up to 3")
        for name in ("a", "b", "sums"):
            (root / "steps/1" / name).unlink()

    cut = 0
    while True:
        here, place = tmp_path / f"cut{cut}", f"{url}{cut}"
        here.mkdir()
        remote = CutFolder(place)
        mirror = Mirror(here, remote, LAYOUT)
        for step in (1, 2):
            write_step(here, step)
        mirror.push(final=True)
        change(here)
        remote.changes_left = cut
        try:
            mirror.push(final=True)
            break
        except KeyboardInterrupt:
            steps, records = pulled(place, tmp_path)
        assert steps.items() <= {"1": "a 1 ", "2": "a 2 ", "3": "a 3 "}.items() | {
            ("2", "a 2 anew")
        }
        if "3" in steps or steps.get("2") == "a 2 anew":
            assert records == "up to 3"
        assert steps.get("1") or "3" in steps  # deleted only after the new ones are whole
        cut += 1
    assert cut > 10
    assert pulled(place, tmp_path) == ({"2": "a 2 anew", "3": "a 3 "}, "up to 3")


def test_what_an_ended_upload_left_is_deleted(url, local):
    remote = RemoteFolder(url)
    remote.write("steps/5/a", b"x")
    Mirror(local, remote, LAYOUT).pull()
    assert remote.files() == {}


def test_the_remote_folder_counts_unless_the_local_one_is_newer(url, local, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    write_step(theirs, 1, "theirs")
    write_step(theirs, 2, "theirs", "theirs")
    Mirror(theirs, RemoteFolder(url), LAYOUT).push()
    kept = tmp_path / "kept"
    kept.mkdir()
    for folder, steps in ((local, (1, 3)), (kept, (0, 1))):
        for step in steps:
            write_step(folder, step, "mine", "mine")

    Mirror(local, RemoteFolder(url), LAYOUT).pull()
    assert sorted(p.name for p in (local / "steps").iterdir()) == ["1", "2"]
    assert (local / "steps/1/a").read_text() == "a 1 theirs"
    assert (local / "records").read_text() == "theirs"

    mirror = Mirror(kept, RemoteFolder(url), LAYOUT)
    mirror.pull(keep_local=True)
    assert (kept / "steps/1/a").read_text() == "a 1 mine"
    assert mirror.push() == ["steps/0", "steps/1"]
    assert pulled(url, tmp_path) == (
        {"0": "a 0 mine", "1": "a 1 mine", "2": "a 2 theirs"},
        "mine",
    )


def test_what_was_deleted_here_does_not_come_back_from_the_store(url, local, tmp_path):
    for step in (1, 2):
        write_step(local, step)
    Mirror(local, RemoteFolder(url), LAYOUT).push()
    # Deleted for a newer one while the store was gone, by a run that then was killed.
    shutil.rmtree(local / "steps/1")
    write_step(local, 3)
    mirror = Mirror(local, RemoteFolder(url), LAYOUT)
    mirror.pull(keep_local=True)
    assert sorted(p.name for p in (local / "steps").iterdir()) == ["2", "3"]
    mirror.push(final=True)
    assert pulled(url, tmp_path) == ({"2": "a 2 ", "3": "a 3 "}, "up to 3")
    # Without any newer one, it was lost.
    for step in (2, 3):
        shutil.rmtree(local / "steps" / str(step))
    Mirror(local, RemoteFolder(url), LAYOUT).pull(keep_local=True)
    assert sorted(p.name for p in (local / "steps").iterdir()) == ["2", "3"]


def test_a_local_copy_that_was_damaged_is_downloaded_again(url, local):
    mirror = Mirror(local, RemoteFolder(url), LAYOUT)
    write_step(local, 1)
    mirror.push()
    (local / "steps/1/a").write_text("damaged")
    Mirror(local, RemoteFolder(url), LAYOUT).pull()
    assert intact(local / "steps/1")


def test_a_unit_that_was_damaged_here_is_not_uploaded(url, local):
    write_step(local, 1)
    (local / "steps/1/b").write_text("damaged")
    remote = RemoteFolder(url)
    with pytest.raises(DamagedUnitError, match="steps/1 is damaged"):
        Mirror(local, remote, LAYOUT).push()
    assert list(remote.files()) == ["records"]


def test_a_unit_that_vanishes_while_it_is_uploaded_gets_no_seal(url, local, monkeypatch):
    remote = RemoteFolder(url)
    mirror = Mirror(local, remote, LAYOUT)
    write_step(local, 1)
    upload = remote.upload

    def vanishes(file, name):
        if name == "steps/1/b":
            (local / "steps/1").rename(local / "deleted")
        upload(file, name)

    monkeypatch.setattr(remote, "upload", vanishes)
    assert mirror.push() == []
    assert "steps/1/a" in remote.files()
    assert "steps/1/sums" not in remote.files()
    mirror.push(final=True)
    assert list(remote.files()) == ["records"]


class HeldLease:
    lost = False

    def check(self):
        if self.lost:
            raise WorkdirInUseError("in use")

    require = check


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_thread_uploads_warns_of_a_store_that_fails_and_goes_on(url, local, monkeypatch):
    remote, lease, said = RemoteFolder(url, Retries(1)), HeldLease(), []
    thread = MirrorThread(Mirror(local, remote, LAYOUT), lease, said.append, 0.01, 0.02)
    write_step(local, 1)
    wait_for(lambda: "steps/1/sums" in remote.files())
    write = remote._fs.put_file

    def fails(*_, **__):
        raise ConnectionError("the network is down")

    monkeypatch.setattr(remote._fs, "put_file", fails)
    write_step(local, 2)
    wait_for(lambda: said)
    assert "the network is down" in said[0]
    thread.check()
    monkeypatch.setattr(remote._fs, "put_file", write)
    wait_for(lambda: "steps/2/sums" in remote.files())
    monkeypatch.setattr(remote._fs, "put_file", fails)
    write_step(local, 3)
    with pytest.raises(RemoteStoreError, match="the network is down"):
        thread.close()


def test_the_thread_ends_and_tells_when_the_folder_is_lost_or_the_program_fails(url, local):
    remote, lease = RemoteFolder(url), HeldLease()
    thread = MirrorThread(Mirror(local, remote, LAYOUT, lease.require), lease, print, 0.01)
    lease.lost = True
    with pytest.raises(WorkdirInUseError):
        thread.check()
    write_step(local, 1)
    with pytest.raises(WorkdirInUseError):
        thread.close()
    assert "steps/1/sums" not in remote.files()

    def broken():
        raise ZeroDivisionError

    thread = MirrorThread(Mirror(local, remote, LAYOUT, broken), HeldLease(), print, 0.01)
    wait_for(lambda: not thread._thread.is_alive())
    with pytest.raises(ZeroDivisionError):
        thread.check()


def test_without_units_files_are_uploaded_as_they_change_while_the_folder_is_ours(url, local):
    ours = [True]

    def require():
        if not ours[0]:
            raise WorkdirInUseError("in use")

    remote = RemoteFolder(url)
    mirror = Mirror(local, remote, Layout((), r"[^/]+"), require)
    for content in ("1", "12"):
        (local / "journal").write_text(content)
        mirror.push()
        assert remote.read("journal") == content.encode()
    ours[0] = False
    mirror.push()  # nothing is new
    (local / "journal").write_text("123")
    with pytest.raises(WorkdirInUseError):
        mirror.push()
    (local / "journal").unlink()
    with pytest.raises(WorkdirInUseError):
        mirror.push()
    assert remote.read("journal") == b"12"
