"""Ray: the outcomes of one process on two nodes, whatever dies; nothing runs on afterwards.

The two nodes are on this machine, connected by its own network.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pareq.errors import MissingExtra, SearchError
from pareq.search import ray as ray_module
from pareq.search.executor import InProcess, usable_cores
from pareq.search.ray import Ray
from pareq.studies.base import drive
from pareq.train.run import open_run
from tests.search.test_executor import WORKS, alive, outcomes, plain
from tests.search.work import Fatal, Square, Threads
from tests.studies.small import study

ROOT = Path(__file__).resolve().parents[2]
ONLY = "6b-[fl]t/1"
EPOCHS = 20
FRACTIONS = (0.5,)

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="ray is not installed: the executor for clusters is not tested; extra 'ray'",
)
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="no /proc to look at processes"
)


def ends(found: Callable[[], object], seconds: float = 60) -> bool:
    """Whether it becomes true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found():
            return True
        time.sleep(0.1)
    return False


def processes(mark: str) -> list[int]:
    """Living processes that were started with `mark` in their command or environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                about = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in about and alive(int(folder.name)):
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def surroundings() -> Iterator[str]:
    """Variables for all that Ray starts, and a short folder for its sockets."""
    folder = tempfile.mkdtemp(prefix="pq-ray-")
    changes = pytest.MonkeyPatch()
    changes.setenv("PYTHONPATH", str(ROOT))
    changes.setenv("RAY_AUTH_MODE", "disabled")  # else a token is put into the home folder
    changes.setenv("RAY_TMPDIR", folder)
    changes.setenv("RAY_USAGE_STATS_ENABLED", "0")
    for name in list(os.environ):
        if name.startswith("COVERAGE_PROCESS"):
            changes.delenv(name)
    yield folder
    changes.undo()
    assert ends(lambda: not processes(folder)), processes(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(surroundings):
    """Two nodes with a core each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@needs_ray
@needs_proc
@pytest.mark.slow
def test_two_nodes(cluster, tmp_path):
    """In one test, since test processes would each start nodes of their own."""
    import ray

    what_it_lacks(cluster.address, tmp_path)
    a_killed_driver(cluster.address, tmp_path)
    ray.init(cluster.address, log_to_driver=False)
    try:
        the_same_outcomes(tmp_path)
        a_node_and_a_worker_die(cluster, tmp_path)
    finally:
        ray.shutdown()


def what_it_lacks(address: str, folder: Path) -> None:
    """Larger machines, and the folder; all is as before."""
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    works = {"square": Square(2)}
    assert Ray(address).places == 2
    with pytest.raises(SearchError) as caught:
        Ray(address, cpus=64, gpus=1).run(works, print)
    assert str(caught.value).startswith(
        "ray: each piece of work takes 64 cores and 1 GPUs, but no machine of the cluster has more"
        " than 1 and 0;"
    )
    with pytest.raises(SearchError) as caught:
        Ray(address, shared=str(folder / "elsewhere")).run(works, print)
    assert str(caught.value) == (
        f"ray: {folder / 'elsewhere'}: does not exist on every machine of the cluster; use a"
        " folder that all of them share"
    )
    assert dict(os.environ) == before
    assert signal.getsignal(signal.SIGTERM) == handler


DRIVER = """
import sys
from pathlib import Path
from pareq.search.ray import Ray
from pareq.studies.base import drive
from tests.search.test_ray import EPOCHS, FRACTIONS
from tests.studies.small import study

folder, address = Path(sys.argv[1]), sys.argv[2]
made = study(folder, epochs=EPOCHS, fractions=FRACTIONS)
drive(made, folder / "out", Ray(address, shared=str(folder)), only="6b-ft/1")
"""


def a_killed_driver(address: str, folder: Path) -> None:
    """Its worker ends."""
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder), address])
    run, out, claims = folder / "out/6b-ft/1/state-00", folder / "out", {}

    def begun() -> bool:
        """Whether it has trained a while, and who does; it may end at once behind the driver."""
        claims.update(holders(out))
        return any(int(p.stem[5:]) for p in run.glob("checkpoints/step-*"))

    trained = ends(begun, 120)
    driver.kill()
    driver.wait()
    assert trained
    (claim,) = claims.values()
    assert ends(lambda: not alive(claim))


def holders(out: Path) -> dict[str, int]:
    """The processes that claim trials."""
    found = {}
    for claim in out.glob("*/1/claim-*"):
        with suppress(OSError, ValueError):  # it ends, or begins, at this moment
            found[claim.parent.parent.name] = int(json.loads(claim.read_text())["process"])
    return found


def the_same_outcomes(folder: Path) -> None:
    """Serial = Ray; work whose worker dies is tried again; a thread each; somebody watches."""
    (folder / "always").mkdir()
    works = WORKS | {"threads": Threads(), "always": Fatal(str(folder / "always"), 99)}
    looks: list[None] = []
    told = {}
    Ray(attempts=2).run(works, lambda o: told.update({o.name: o}), lambda: looks.append(None))
    found = plain(told)
    assert found.pop("threads") == (("1", 1), "", 1)
    error = "its worker died: The worker died unexpectedly while executing this task"
    assert found.pop("always") == (None, error, 2)
    assert found == plain(outcomes(InProcess(), WORKS))
    assert len(looks) >= len(works) // 2


@dataclass(frozen=True)
class Watched(Ray):
    """Looks on as well."""

    look: Callable[[], None] = lambda: None

    def run(self, works, tell, watch=None):
        def both() -> None:
            self.look()
            watch()

        super().run(works, tell, both)


def a_node_and_a_worker_die(cluster, folder: Path) -> None:
    """The study goes on where its driver left it; its result is that of one sitting."""
    made, out = study(folder, epochs=EPOCHS, fractions=FRACTIONS), folder / "out"
    run = out / "6b-ft/1/state-00"
    saved = max(run.glob("checkpoints/step-*.safetensors")).stem.removeprefix("step-")
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    kept = [line for line in lines if json.loads(line)["step"] <= int(saved)]
    died: list[dict[str, int]] = []

    def look() -> None:
        now = holders(out)
        if not died and len(now) == 2 and all(alive(process) for process in now.values()):
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            died.append(now)
        elif len(died) == 1:
            moved = [process for name, process in now.items() if process != died[0].get(name)]
            if moved:
                os.kill(moved[0], signal.SIGKILL)
                died.append(now)

    assert drive(made, out, Watched(shared=str(out), look=look), only=ONLY, together=1) == {}
    assert len(died) == 2
    assert kept
    assert (run / "metrics.jsonl").read_bytes().splitlines()[: len(kept)] == kept
    straight = folder / "straight"
    assert drive(made, straight, InProcess(), only=ONLY, together=1) == {}
    for name in ("6b-ft/1", "6b-lt/1"):
        for state in range(len(FRACTIONS) + 1):
            one, two = (open_run(f / name / f"state-0{state}") for f in (out, straight))
            assert one.epochs == two.epochs
            assert one.result.test == two.result.test
    assert not holders(out)


@needs_ray
def test_no_cluster_at_all():
    with pytest.raises(SearchError) as caught:
        Ray("127.0.0.1:1").run({"square": Square(2)}, print)
    assert str(caught.value) == (
        "ray: no cluster answers at '127.0.0.1:1' ([Errno 111] Connection refused); start one with:"
        " ray start --head, or give local"
    )


@needs_ray
def test_ctrl_c_ends_everything(monkeypatch):
    """What a Ray that is started here would be told, and that it ends."""
    import ray

    said: list[tuple] = []

    class Remote:
        def options(self, name):
            return self

        def remote(self, name, *rest):
            return name

    def wait(references, num_returns, timeout):
        raise KeyboardInterrupt

    node = {"Alive": True, "Resources": {"CPU": 2.0}}
    monkeypatch.setattr(ray, "init", lambda **options: said.append(options))
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    monkeypatch.setattr(ray, "remote", lambda **options: lambda _: Remote())
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "cancel", lambda *names, force: said.append((*names, force)))
    monkeypatch.setattr(ray, "shutdown", lambda: said.append(("over",)))
    with pytest.raises(KeyboardInterrupt):
        Ray("local", workers=2).run({name: Square(2) for name in "abc"}, print)
    assert (said[0]["address"], said[0]["include_dashboard"]) == ("local", False)
    assert said[0]["num_cpus"] >= 2
    assert said[1:] == [("a", True), ("b", True), ("over",)]


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra) as caught:
        Ray().run({"square": Square(2)}, print)
    assert str(caught.value) == "ray is not installed; run: pip install 'pareq[ray]'"


def test_the_places_of_this_machine_are_known_without_a_cluster(monkeypatch):
    monkeypatch.setattr(ray_module, "_library", None)
    cores = usable_cores()
    assert Ray("local").places == Ray().places == cores
    assert Ray(cpus=0.5).places == 2 * cores
    assert Ray(cpus=2.0 * cores).places == 1
    assert Ray(workers=3).places == 3


def test_nothing_to_do_needs_no_cluster():
    assert outcomes(Ray("127.0.0.1:1"), {}) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": 0}, "ray.workers must be 1 or more, got 0"),
        ({"attempts": 0}, "ray.attempts must be 1 or more, got 0"),
        ({"cpus": -1}, "ray.cpus must be 0 or more, got -1"),
        ({"gpus": float("nan")}, "ray.gpus must be 0 or more, got nan"),
    ],
)
def test_what_no_cluster_can_do(fields, message):
    with pytest.raises(SearchError) as caught:
        Ray(**fields)
    assert str(caught.value) == message
