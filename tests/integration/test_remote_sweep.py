"""Sweeps and searches in an object store, killed and gone on with elsewhere, end the same.

Machines are caches (``XDG_CACHE_HOME``): all that a process keeps outside of the store.
"""

import json
import shutil
import signal

import pytest

from rnnt_qat.infra.lease import LEASE, Lease
from rnnt_qat.infra.remote_store import RemoteFolder
from rnnt_qat.infra.workdir_lock import WorkdirInUseError
from rnnt_qat.studies.precision_candidates import STORAGE
from tests.experiments import tones
from tests.integration.in_store import start
from tests.integration.test_remote_resume import finish, wait_for

pytestmark = pytest.mark.slow
CONFIG = ("--config=tests/experiments/tones_config.py", "--seeds=0")
CELLS = ("float", "w8a8", "ethos_u_8x8_16")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return tones.prepare(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def policies(corpora):
    return (f"--data_dir={corpora}", "--policies=w8a8,ethos_u_8x8_16", "--aware_steps=2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, policies):
    """The folder of a sweep that was left alone."""
    root = tmp_path_factory.mktemp("whole")
    workdir = root / "sweep"
    finish(start("sweep", *CONFIG, *policies, f"--workdir={workdir}", machine=root / "machine"))
    return workdir


def results(workdir):
    """The results of all cells, by their files' names."""
    files = sorted((workdir / "model_0").glob("*/results/[!.]*.json"))
    found = {str(f.relative_to(workdir)): json.loads(f.read_text()) for f in files}
    return {name: content for name, content in found.items() if not name.endswith("cell.json")}


def require_equal(store, whole):
    assert results(store) == results(whole)
    assert (store / "report/grid.csv").read_bytes() == (whole / "report/grid.csv").read_bytes()
    assert (store / "report/report.html").stat().st_size > 10_000
    curves = [json.loads((w / "report/curves.json").read_text()) for w in (store, whole)]
    assert curves[0].keys() >= {"model_0/w8a8", "model_0/ethos_u_8x8_16"}
    for name in curves[0]:
        assert curves[0][name]["metrics"] == curves[1][name]["metrics"]
    assert not list(store.rglob(LEASE))


def test_a_killed_sweep_goes_on_from_the_store_on_any_machine(tmp_path, whole, policies):
    store, url = tmp_path / "store/sweep", f"dirstore://{tmp_path}/store/sweep"
    asked = ("sweep", *CONFIG, *policies, f"--workdir={url}")

    killed = start(*asked, machine=tmp_path / "a", write_seconds=0.1)
    wait_for(killed, lambda: (store / "model_0/float/results/cell.json").exists())
    with pytest.raises(WorkdirInUseError, match=f"in use by process {killed.pid} "):
        Lease(RemoteFolder(url), tmp_path / "identity", print)
    # In the middle of the upload of a cell's results, of which the manifest is the last.
    wait_for(killed, lambda: list((store / "model_0/w8a8/results").glob("[!.]*.json")))
    killed.kill()
    said = finish(killed, code=-signal.SIGKILL)
    assert not (store / "model_0/w8a8/results/cell.json").exists(), said
    assert (store / "model_0/w8a8/models/aware/recognizer.json").exists()

    said = finish(start(*asked, "--jobs=2", machine=tmp_path / "b"))
    assert said.count("measured before") == 1
    assert f"measured before, {url}/model_0/float/results" in said
    assert "w8a8: aware: resumed at step 6" in said  # and was not trained again
    assert "seed 0" not in said
    next_line = said.splitlines()[-1]
    assert next_line.startswith(f"next: python -m experiments.export --model={url}/seed_0/models/")
    assert f"{url}/model_0/ethos_u_8x8_16/models/aware" in next_line
    assert (store / "logs/task_1.log").read_text().count("resumed at step") >= 1
    require_equal(store, whole)

    # Damage to a result: that cell alone is measured again, on a machine that has nothing.
    damaged = next((store / "model_0/w8a8/results").glob("aware*.json"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    said = finish(start(*asked, machine=tmp_path / "c"))
    assert said.count("measured before") == 2
    require_equal(store, whole)


def test_nodes_of_a_cluster_share_nothing_but_the_store(tmp_path, whole, policies):
    pytest.importorskip("ray", reason="an extra")
    import ray
    from ray.cluster_utils import Cluster

    store, url = tmp_path / "store", f"dirstore://{tmp_path}/store"
    shutil.copytree(whole / "seed_0/models/float", store / "run/models/float")
    machines = [tmp_path / name for name in ("a", "b")]

    def node(machine):
        return {"num_cpus": 1, "env_vars": {"XDG_CACHE_HOME": str(machine)}}

    head = node(machines[0]) | {"include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(**node(machines[1]))
        sent = (
            f"--models={url}/run/models/float",
            "--engine=ray",
            f"--ray_address={cluster.address}",
        )
        said = finish(start("sweep", *policies, *sent, machine=tmp_path / "driver"))
    finally:
        ray.shutdown()
        cluster.shutdown()
    require_equal(store / "run/sweep", whole)
    caches = [machine / "rnnt_qat" for machine in machines]
    for cache in caches:
        assert list(cache.glob("copies/*/**/float/recognizer.json"))
    cells = [path.name for cache in caches for path in cache.glob("workdirs/*/*") if path.is_dir()]
    assert sorted(cells) == sorted(CELLS)
    assert sum(cache.joinpath("workdirs").is_dir() for cache in caches) == 2
    held = [p.name for p in (tmp_path / "driver/rnnt_qat/workdirs").glob("*/*") if p.is_dir()]
    assert held == ["sweep"]
    for number in range(3):
        assert (store / f"run/sweep/logs/task_{number}.log").read_text()
    assert said.splitlines()[-1].endswith(
        f"--output={url}/run/sweep/export --data_dir=" + policies[0].partition("=")[2]
    )


def test_a_killed_search_goes_on_from_the_store_on_any_machine(tmp_path):
    store, url = tmp_path / "store/search", f"dirstore://{tmp_path}/store/search"
    logs = [tmp_path / name for name in ("first.log", "second.log")]

    def stored():
        journal = store / STORAGE
        return journal.read_text().count('"state":1') if journal.exists() else 0

    killed = start("search", url, logs[0], 16, 0.2, machine=tmp_path / "a")
    wait_for(killed, lambda: stored() >= 5)
    killed.kill()
    finish(killed, code=-signal.SIGKILL)
    before = stored()
    # An upload that met a line being written.
    with (store / STORAGE).open("a") as journal:
        journal.write('{"op_code":6,"worker_id":"x","tri')
    said = finish(start("search", url, logs[1], 16, 0, machine=tmp_path / "b"))
    assert 5 <= before < 16
    assert len(logs[1].read_text().splitlines()) == 16 - before
    found = [line for line in said.splitlines() if line.startswith("ethos_u")]
    assert len(found) == 16
    assert found[:3] == ["ethos_u_8x8_16", "ethos_u_8x8_16_w4", "ethos_u_8x8_16_w2"]
    assert not list(store.rglob(LEASE))
    assert not list(store.rglob("*.lock*"))
