"""A batch on a cluster that loses workers, its scheduler and files: what a folder gives on one machine, row by row."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path, PurePath
from typing import Any

import pytest
from batches import apply, but_time, by_path, outputs
from buckets import fetched, sent

from xray_core.batch_plan import Job, prepare
from xray_core.batch_task import process
from xray_core.dicom_choice import DicomChoice
from xray_core.errors import RunError, SettingsError
from xray_core.files import encode
from xray_core.image import Image
from xray_core.limits import Limits
from xray_core.manifest import Manifest, Task
from xray_core.presets import builtin, create

pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")
from clusters import Nodes, wait_for

from xray_core import cluster, node
from xray_core.cluster import Cluster

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at processes as Linux has them"),
    # Not beside the browser: five more servers on the same cores would have its clicks time out.
    pytest.mark.xdist_group("browser"),
]

Textured = Callable[..., Image]
ROOT = Path(__file__).parents[1]
COUNT = 240


@pytest.fixture(scope="module")
def nodes(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A scheduler and three workers, for tests that lose none of them; they hold the credentials of a store."""
    with Nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def films(textured: Textured, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small films in three folders, which the nodes read slowly, and two files that are damaged."""
    source = tmp_path_factory.mktemp("films")
    pictures = [encode(textured(40 + number, 50, seed=number), ".png") for number in range(10)]
    for number in range(COUNT):
        path = source / f"site_{number % 3}" / f"slow_{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pictures[number % 10])
    (source / "cut.png").write_bytes(pictures[0][:200])
    (source / "Röntgen_胸部.png").write_bytes(b"no picture")
    return source


@pytest.fixture(scope="module")
def local(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this machine alone makes of them."""
    target = tmp_path_factory.mktemp("local") / "out"
    apply(films, target, preset=builtin("classifier-224"))
    return target


@pytest.fixture
def few(textured: Textured, tmp_path: Path) -> Path:
    """Twelve small films."""
    source = tmp_path / "in"
    source.mkdir()
    for number in range(12):
        (source / f"film_{number:02}.png").write_bytes(encode(textured(40, 50, seed=number), ".png"))
    return source


def command(*arguments: object, path: Path = ROOT, **options: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "xray_core", "batch", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}"}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, **options)


def same(target: Path, local: Path) -> None:
    assert outputs(target) == outputs(local)
    assert but_time(by_path(target)) == but_time(by_path(local))


class Aside:
    """A run in a thread, so that a test may do harm meanwhile."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.done = 0
        self.outcome: Any = None
        self._thread = threading.Thread(target=self._run, args=(arguments, options), daemon=True)
        self._thread.start()
        wait_for(lambda: self.done > 0 or self.outcome is not None)

    def _run(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        try:
            self.outcome = apply(*arguments, report=self._note, preset=builtin("classifier-224"), **options)
        except BaseException as error:
            self.outcome = error

    def _note(self, progress: Any) -> None:
        self.done = progress.done

    def result(self, seconds: float = 60.0) -> Any:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the run did not end in time"
        return self.outcome


# --- A run ------------------------------------------------------------------------------------------------------------


def test_a_cluster_gives_what_one_machine_gives(nodes: Nodes, films: Path, local: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    line = (films.name, target, "--preset", "classifier-224", "--cluster", nodes.address, "--workers", "2")
    done = command(*line, cwd=films.parent)
    assert done.returncode == 1, done.stderr
    assert f"{COUNT} written, 2 failed" in done.stderr
    assert "distributed" not in done.stderr
    same(target, local)
    assert not nodes.served()

    again = apply(films, target, preset=builtin("classifier-224"), engine=Cluster(nodes.address), resume=True)
    assert (again.written, again.unchanged, again.failures) == (0, COUNT, 2)


def test_nodes_take_films_from_a_store_and_put_outputs_onto_it(
    nodes: Nodes, bucket: str, few: Path, tmp_path: Path
) -> None:
    sent(few, f"{bucket}/in")
    summary = apply(f"{bucket}/in", f"{bucket}/out", state=tmp_path / "state", engine=Cluster(nodes.address))
    assert summary.written == 12
    apply(few, tmp_path / "local")
    there, local = fetched(f"{bucket}/out"), outputs(tmp_path / "local")
    assert {name: there[name] for name in local} == local


def test_a_run_that_is_killed_leaves_no_work_behind(nodes: Nodes, films: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "xray_core", "batch", str(films), str(tmp_path / "out"), "--cluster", nodes.address]
    run = subprocess.Popen(line, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    wait_for(lambda: list((tmp_path / "out").glob("site_*/*.png")))
    run.kill()
    run.wait()
    wait_for(lambda: not nodes.served(), 15)
    assert len(list((tmp_path / "out").glob("site_*/*.png"))) < COUNT


def test_a_file_that_kills_and_one_that_hangs_cost_a_row_each(nodes: Nodes, few: Path, tmp_path: Path) -> None:
    for name in ("kills_1.png", "hangs_1.png"):
        (few / name).write_bytes((few / "film_00.png").read_bytes())
    summary = apply(few, tmp_path / "out", engine=Cluster(nodes.address), time_limit=7.0)
    assert summary.failed == {"CRASH": 1, "TIMEOUT": 1}
    assert summary.written == 12
    rows = by_path(tmp_path / "out")
    assert rows["kills_1.png"]["reason"].startswith("CRASH: the decoder crashed")
    assert rows["hangs_1.png"]["reason"].startswith("TIMEOUT: took longer than 7 s")


def test_a_process_that_dies_with_its_shard_is_replaced(nodes: Nodes, films: Path, local: Path, tmp_path: Path) -> None:
    run = Aside(films, tmp_path / "out", engine=Cluster(nodes.address))
    for process_of_ours in nodes.served()[:2]:
        os.kill(process_of_ours, signal.SIGKILL)
    summary = run.result()
    assert (summary.written, summary.failures) == (COUNT, 2)
    same(tmp_path / "out", local)


def test_a_shard_that_is_lost_again_and_again_ends_the_run(
    nodes: Nodes, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_OFTEN", 1)
    (few / "killsall_1.png").write_bytes((few / "film_00.png").read_bytes())
    with pytest.raises(RunError, match="were lost 2 times") as stopped:
        apply(few, tmp_path / "out", engine=Cluster(nodes.address))
    assert stopped.value.code == "CLUSTER_LOST"
    wait_for(lambda: not nodes.served(), 10)


def test_closing_ends_the_work_of_the_nodes(nodes: Nodes, few: Path, tmp_path: Path) -> None:
    (few / "hangs_1.png").write_bytes((few / "film_00.png").read_bytes())
    job = prepare(few, tmp_path / "out", builtin("classifier-224"))
    names = ["hangs_1.png"] + [f"film_{number % 12:02}.png" for number in range(11_999)]
    read = []

    def tasks() -> Iterator[Task]:
        for number, name in enumerate(names):
            read.append(number)
            yield Task(number, PurePath(name), PurePath(f"{number}.png"))

    with job.folder, Manifest(job.folder.manifest):
        results = Cluster(nodes.address).run(job, tasks())
        assert any(result is not None for result in results)
        assert 500 < len(read) < 7_000  # a run of millions is not read ahead
        started = time.monotonic()
        results.close()
        assert time.monotonic() - started < 5
        assert not nodes.served()


def test_there_are_ticks_while_nothing_ends(nodes: Nodes, few: Path, tmp_path: Path) -> None:
    (few / "hangs_1.png").write_bytes((few / "film_00.png").read_bytes())
    job = prepare(few, tmp_path / "out", builtin("classifier-224"))
    with job.folder, Manifest(job.folder.manifest):
        results = Cluster(nodes.address).run(job, iter([Task(1, PurePath("hangs_1.png"), PurePath("1.png"))]))
        times = []
        for _ in range(4):
            assert next(results) is None
            times.append(time.monotonic())
        results.close()
    assert times[-1] - times[0] < 4.5


# --- What is refused --------------------------------------------------------------------------------------------------


def test_a_node_that_differs_ends_the_run(
    nodes: Nodes, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "__version__", "0.0.1")
        with pytest.raises(RunError, match=f"{socket.gethostname()} has RadTune .*, and not 0.0.1"):
            apply(few, tmp_path / "out", engine=Cluster(nodes.address))
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "computes", lambda preset: "other")
        with pytest.raises(RunError, match=f"{socket.gethostname()} computes other pixels") as stopped:
            apply(few, tmp_path / "out", engine=Cluster(nodes.address), resume=True)
    assert stopped.value.code == "CANNOT_WRITE"
    assert outputs(tmp_path / "out") == {}
    assert apply(few, tmp_path / "out", engine=Cluster(nodes.address), resume=True).written == 12


def test_a_node_that_does_not_see_the_folders_ends_the_run(nodes: Nodes, few: Path, tmp_path: Path) -> None:
    job = prepare(few, tmp_path / "out", builtin("standard"))
    tasks = [Task(1, PurePath("film_00.png"), PurePath("film_00.png"))]
    with pytest.raises(RunError, match=r"does not see .*out; the nodes have to share it") as stopped:
        list(Cluster(nodes.address).run(job, iter(tasks)))
    assert stopped.value.code == "CANNOT_WRITE"
    job.folder.parts.mkdir(parents=True)
    few.rename(tmp_path / "elsewhere")
    with Manifest(job.folder.manifest), pytest.raises(RunError, match=r"does not see .*in; the nodes") as stopped:
        list(Cluster(nodes.address).run(job, iter(tasks)))
    assert stopped.value.code == "NO_INPUT"


def test_a_node_that_may_not_read_ends_the_run_instead_of_failing_each_film(
    nodes: Nodes, few: Path, tmp_path: Path
) -> None:
    for path in list(few.iterdir()):
        path.rename(few / f"closed_{path.name}")
    with pytest.raises(RunError, match=r"cannot read what this machine can; READ: permission denied") as stopped:
        apply(few, tmp_path / "out", engine=Cluster(nodes.address))
    assert stopped.value.code == "NO_INPUT"
    with Manifest(tmp_path / "out" / ".radtune" / "manifest.sqlite", read_only=True) as manifest:
        assert manifest.count("failed") == 0


def test_one_film_that_is_gone_is_a_row(nodes: Nodes, few: Path, tmp_path: Path) -> None:
    job = prepare(few, tmp_path / "out", builtin("classifier-224"))
    with job.folder, Manifest(job.folder.manifest):
        results = list(Cluster(nodes.address).run(job, iter([Task(1, PurePath("gone.png"), PurePath("gone.png"))])))
    rows = [rows for done in results if done is not None for rows in done[1]]
    assert [row["reason"] for row in rows] == ["READ: the file or folder does not exist"]


@pytest.mark.parametrize("address", ["", "nothing", "tcp://127.0.0.1", "tcp://a:b@127.0.0.1:8786", "tcp://[::1:9"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="such as tcp://"):
        Cluster(address)


def test_an_address_where_nothing_answers_is_told_at_once(few: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        started = time.monotonic()
        done = command(few, tmp_path / "out", "--cluster", address)
    assert time.monotonic() - started < 10
    assert done.returncode == 69
    first, second = done.stderr.splitlines()[-2:]
    assert first == f"radtune: tcp://{address}: no scheduler was reached: nothing answers there"
    assert "--resume" in second
    assert apply(few, tmp_path / "out", preset=builtin("standard"), resume=True).written == 12


def test_what_is_no_scheduler_is_told_in_words(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "_CONNECTING", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(RunError, match="no scheduler was reached: nothing answers") as stopped:
            apply(few, tmp_path / "out", engine=Cluster(f"127.0.0.1:{silent.getsockname()[1]}"))
        assert stopped.value.code == "CLUSTER_LOST"
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("package", "flag"), [("distributed", "--cluster"), ("fsspec", "--state")])
def test_what_is_not_installed_is_told_in_one_line(few: Path, tmp_path: Path, package: str, flag: str) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / f"{package}.py").write_text("raise ImportError('no')")
    target = tmp_path / "out" if package == "distributed" else "s3://bucket/out"
    done = command(few, target, flag, "127.0.0.1:9", path=tmp_path / "without", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "python -m pip install -r requirements-cluster.txt" in done.stderr


# --- What is lost -----------------------------------------------------------------------------------------------------


def test_workers_go_and_come_and_then_the_scheduler_goes(
    films: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_CONNECTING", 3)
    target = tmp_path / "out"
    with Nodes(tmp_path / "nodes") as nodes:
        run = Aside(films, target, engine=Cluster(nodes.address))
        nodes.kill(nodes.workers[0])
        nodes.add()
        summary = run.result()
        assert (summary.written, summary.failures) == (COUNT, 2), summary
        same(target, local)
        assert nodes.said("worker4").count("end_run") == 1

        target = tmp_path / "second"
        run = Aside(films, target, engine=Cluster(nodes.address))
        nodes.kill(nodes.scheduler)
        started = time.monotonic()
        lost = run.result()
        assert time.monotonic() - started < 30
        assert isinstance(lost, RunError), lost
        assert lost.code == "CLUSTER_LOST"
        # The workers find it out by themselves, and nothing writes behind the back of who goes on.
        wait_for(lambda: not nodes.served(), 20)
        some = len(outputs(target))
        assert 0 < some < COUNT
    summary = apply(films, target, preset=builtin("classifier-224"), resume=True)
    assert summary.unchanged > 0
    assert summary.written + summary.unchanged == COUNT
    same(target, local)


def test_a_scheduler_that_hangs_and_one_without_workers(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 3.0)
    with Nodes(tmp_path / "nodes", workers=0) as nodes:
        with pytest.raises(RunError, match="it has no workers") as stopped:
            apply(few, tmp_path / "out", preset=builtin("classifier-224"), engine=Cluster(nodes.address))
        assert stopped.value.code == "CLUSTER_LOST"
        nodes.add()
        wait_for(lambda: "Register worker" in nodes.said("scheduler"))
        (few / "hangs_1.png").write_bytes((few / "film_00.png").read_bytes())
        run = Aside(few, tmp_path / "out", engine=Cluster(nodes.address), resume=True)
        nodes.scheduler.send_signal(signal.SIGSTOP)
        lost = run.result(30)
        assert "does not answer" in str(lost)


# --- What travels -----------------------------------------------------------------------------------------------------


def test_all_of_a_task_reaches_the_nodes() -> None:
    odd = Task(1, PurePath(os.fsdecode(b"a/\xff\xfe\n.png")), PurePath("a/_.png"), "s", 3, 2, "d", (("a", "b"),))
    assert node._task_of(json.loads(json.dumps(node.task_list([odd])))[0]) == odd


def test_all_of_a_job_reaches_the_nodes(tmp_path: Path) -> None:
    job = Job(
        tmp_path / "in",
        "s3://bucket/out",
        builtin("published"),
        ".tif",
        "uint16",
        Limits(pixels=7),
        embed=False,
        quality=3,
        levels=(0.0, 4095.0),
        choice=DicomChoice(voi="none"),
        keep_identity=True,
        instead=builtin("standard"),
        time_limit=7.5,
        only=PurePath("film.png"),
        state=tmp_path,
        shard=(2, 3),
    )
    plain = Job(tmp_path, tmp_path / "out", create({}))
    assert [one.name for one in fields(Job) if getattr(job, one.name) == getattr(plain, one.name)] == []
    for one in (job, plain):
        assert node.unpacked(node.packed(one)) == one


def test_rows_survive_the_journey(few: Path, tmp_path: Path) -> None:
    job = prepare(few, tmp_path / "out", builtin("standard"))
    job.folder.parts.mkdir(parents=True)
    _, rows = process(job, Task(1, PurePath("film_00.png"), PurePath("film_00.png")))
    assert rows[0]["status"] == "SUCCESS"
    assert json.loads(json.dumps(rows)) == rows
