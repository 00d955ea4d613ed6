"""MLflow for several people, as deploy/ starts it: PostgreSQL, artifacts on S3, users and passwords.

PostgreSQL comes from Debian, S3 is moto's; the locked packages of the server are in an environment of their own.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import postgres
import pytest
import requests
from between import between
from checkout import ROOT
from checkout import Project as Checkout
from test_clients import environment_of
from test_tracking import CURVES, PICTURES, Project, assert_complete, fresh  # noqa: F401 (a fixture)

from kws.core import paths
from kws.core.errors import UserError
from kws.core.params import Params, load_params
from kws.tracking import run as tracking
from kws.tracking import serve
from kws.tracking.run import EXPERIMENT, tracked_run

DEPLOY = ROOT / "deploy"
BUCKET = "kws"
TINY = {"synthetic_speakers": 20, "epochs": 1, "patience": 1, "stream_minutes": 1}

missing = "" if os.environ.get("KWS_NETWORK") == "1" else "installs servers; KWS_NETWORK=1 runs it"
if not missing and not postgres.program("initdb"):
    missing = "needs PostgreSQL (Debian: postgresql)"
needs_servers = pytest.mark.skipif(bool(missing), reason=missing)

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),  # MLflow, of itself
]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(address: str, process: subprocess.Popen[Any], log: Path, verify: bool | str = True) -> None:
    """Waits until a server answers; fails with its log if it ends before."""
    while True:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(requests.ConnectionError):
            requests.get(address, timeout=60, verify=verify)
            return
        time.sleep(0.2)


class Server:
    """What deploy/ starts, on this machine; `front` and `store` stand before MLflow and before S3."""

    def __init__(self, folder: Path, database: str, s3: int) -> None:
        self.folder, self.port, self.s3 = folder, free_port(), s3
        self.secrets = folder / "secrets"
        subprocess.run([DEPLOY / "make_secrets.sh", self.secrets], check=True, capture_output=True)
        place = urlsplit(database)
        (self.secrets / "postgres_password").write_text(unquote(place.password))
        (self.secrets / "s3").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
        self.environment = {
            "PATH": os.pathsep.join(
                [str(environment_of("server")), str(Path(postgres.program("pg_dump")).parent), os.environ["PATH"]]
            ),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PGHOST": place.hostname,
            "PGPORT": str(place.port),
            "PGUSER": place.username,
            "PGDATABASE": place.path[1:],
            "KWS_SECRETS": str(self.secrets),
            "KWS_HOST": "127.0.0.1",
            "KWS_PORT": str(self.port),
            "KWS_WORKERS": "1",
            "KWS_ARTIFACTS": f"s3://{BUCKET}/mlflow",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self, store: str) -> None:
        """Starts MLflow, with S3 at this address."""
        self.environment["MLFLOW_S3_ENDPOINT_URL"] = store
        log = self.folder / "log.txt"
        with log.open("a") as file:
            self.process = subprocess.Popen(
                [DEPLOY / "start.sh"],
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        wait_for(f"http://127.0.0.1:{self.port}/health", self.process, log)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()

    def run(self, script: str, *words: Any, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a script of deploy/ on the server's machine."""
        command = [DEPLOY / script, *map(str, words)]
        return subprocess.run(
            command, env=self.environment | environment, capture_output=True, text=True, check=False, cwd=self.folder
        )

    def users(self, *words: str, password: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs users.py as the administrator."""
        password = password or (self.secrets / "admin_password").read_text().strip()
        login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password}
        address = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.port}"}
        return self.run("users.py", *words, **(login | address | environment))

    def stored(self) -> str:
        """The keys of objects in the bucket, as S3 lists them."""
        return requests.get(f"http://127.0.0.1:{self.s3}/{BUCKET}?list-type=2", timeout=60).text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow with two users, whose passwords it has as `passwords`."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    with (folder / "s3.txt").open("w") as log, postgres.server() as database:
        command = [environment_of("servers") / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
        s3 = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}", s3, folder / "s3.txt")
            requests.put(f"http://127.0.0.1:{port}/{BUCKET}", timeout=60).raise_for_status()
            server = Server(folder, database, port)
            with between(port) as store:
                server.start(store.address)
                server.store = store
                server.passwords = {}
                for name in ("ada", "bob"):
                    added = server.users("add", name)
                    assert added.returncode == 0, added.stderr
                    server.passwords[name] = added.stdout.removeprefix(f"{name}: ").strip()
                with between(server.port) as front:
                    server.front = front
                    yield server
                server.stop()
        finally:
            s3.terminate()
            s3.wait()


@pytest.fixture
def log_in(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the test's tracking go to the server as this user."""
    server.front.pass_on()
    server.store.pass_on()

    def log_in(name: str, password: str = "") -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.front.address)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password or server.passwords[name])

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # no test depends on how fast this machine is
    monkeypatch.setattr(tracking, "LONGEST_WAIT", 900)
    return log_in


SEED = iter(range(2, 1000))


@pytest.fixture
def ada(fresh: Project, log_in: Callable[..., None], make_params: Callable[..., Params]) -> Project:  # noqa: F811
    """A project with an experiment of its own, whose stages log in as ada."""
    log_in("ada")
    fresh.params = make_params(words=["yes", "no"], seed=next(SEED))
    return fresh


def runs_of(project: Project) -> list[Any]:
    """The runs of a project's experiment, the oldest first."""
    return [run for run in project.runs() if run.data.params.get("seed") == str(project.params.seed)]


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What was written to stderr; MLflow's workers share it."""
    return capfd.readouterr().err.splitlines()


PERSON = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_tracking import Project
from kws.core.params import Params, load_params
project = Project(Path.cwd(), Params.model_validate_json(sys.argv[2]), [Path(sys.argv[3])], Path(sys.argv[4]))
project.prepare()
print("ready", flush=True)
input()
project.train()
project.evaluate()
project.project()
"""


@needs_servers
def test_two_people_who_begin_at_the_same_time_have_a_run_and_a_version_each_and_one_champion(
    ada: Project, server: Server, log_in: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    people = {}
    for name, seed in (("ada", 1000), ("bob", 1001)):  # the experiment does not exist yet
        folder = tmp_path / name
        folder.mkdir()
        log_in(name)
        monkeypatch.setenv("DVC_ROOT", str(folder))
        params = ada.params.model_copy(update={"seed": seed}).model_dump_json()
        words = [sys.executable, "-c", PERSON, ROOT / "tests", params, ada.networks[0], ada.spotter]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        people[name] = subprocess.Popen(list(map(str, words)), cwd=folder, **pipes)
    for person in people.values():
        assert person.stdout.readline() == "ready\n"
    for person in people.values():
        person.stdin.write("\n")
        person.stdin.flush()
    said = []
    for person in people.values():
        printed, errors = person.communicate()
        assert (person.returncode, errors) == (0, "")
        said.append(printed)
    log_in("bob")
    client = mlflow.MlflowClient()
    found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert sorted(run.data.params["seed"] for run in found) == ["1000", "1001"]
    for run, name in ((run, name) for run in found for name in people):
        if run.data.params["seed"] == {"ada": "1000", "bob": "1001"}[name]:
            monkeypatch.chdir(tmp_path / name)
            assert_complete(run)
        assert f"mlflow/{run.info.experiment_id}/{run.info.run_id}/artifacts/plots/train/history.csv" in server.stored()
    assert {version.version for version in client.search_model_versions("name = 'kws'")} == {"1", "2"}
    assert sorted("champion: there was none" in printed for printed in said) == [False, True]
    assert all("registered as kws version" in printed for printed in said)


@needs_servers
def test_a_wrong_password_is_a_line_that_says_what_to_do(
    ada: Project, server: Server, log_in: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    log_in("ada", "wrong")
    reason = (
        f"{server.front.address} does not know this name and password: give yours in MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or in ~/.mlflow/credentials (docs/server.md)"
    )
    ada.train()
    assert lines(capfd) == [f"warning: train goes on without MLflow: {reason}{tracking.LATER}"]
    with pytest.raises(UserError) as refused:
        serve.check_champion()
    assert str(refused.value) == reason
    with pytest.raises(UserError) as refused:
        publish(ada)
    assert str(refused.value) == f"MLflow's store cannot be used: {reason}"
    told = server.users("add", "carol", password="wrong")
    assert told.returncode == 1
    assert told.stderr.startswith(f"error: http://127.0.0.1:{server.port} refuses: 401 You are not authenticated")
    assert len(told.stderr.splitlines()) == 1
    log_in("ada")
    ada.evaluate()  # logs what the training could not
    ada.project()
    [run] = runs_of(ada)
    assert_complete(run)
    assert lines(capfd) == []


@needs_servers
def test_a_password_can_be_changed_and_a_user_removed(server: Server) -> None:
    def status(password: str) -> int:
        there = f"http://127.0.0.1:{server.port}/api/2.0/mlflow/experiments/search?max_results=1"
        return requests.get(there, auth=("carol", password), timeout=60).status_code

    first = server.users("add", "carol").stdout.removeprefix("carol: ").strip()
    assert (len(first), status(first), status("wrong")) == (24, 200, 401)
    second = server.users("password", "carol").stdout.removeprefix("carol: ").strip()
    assert (status(first), status(second)) == (401, 200)
    assert server.users("remove", "carol").returncode == 0
    assert status(second) == 401


def publish(project: Project) -> str:
    """Has the project's files recorded, as `make publish` does it."""
    from kws.tracking import from_files

    stages = {
        stage: {"deps": [], "outs": []} for stage in tracking.STAGES if (paths.METRICS / f"{stage}.json").exists()
    }
    from_files.LOCK.write_text(json.dumps({"stages": stages}))
    paths.PARAMS.write_text(project.params.model_dump_json())
    paths.CARD.write_text("# Card")
    return from_files.record(project.root)


@needs_servers
def test_who_may_not_remove_a_run_marks_it_as_a_copy(
    ada: Project, log_in: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    ada.train()
    ada.evaluate()
    ada.project()
    log_in("bob")  # ada made the experiment kws, or bob did: one of them may remove runs
    ada.train()
    log_in("ada")
    ada.train()
    first, *copies = runs_of(ada)
    assert_complete(first)
    assert [copy.data.tags["kws.same_as"] for copy in copies] == [first.info.run_id]
    assert lines(capfd) == []


NO = {
    "an error": (lambda front: front.say(500), "does not answer: too many 500 error responses"),
    "overload": (lambda front: front.say(503), "does not answer: too many 503 error responses"),
    "slow": (lambda front: setattr(front, "delay", 3.0), "Read timed out. (read timeout=1)"),
}


@needs_servers
@pytest.mark.parametrize("how", NO)
def test_a_server_that_says_no_or_nothing_costs_a_line_and_the_next_stage_logs_all(
    ada: Project, server: Server, how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if how == "slow":
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    fault, reason = NO[how]
    fault(server.front)
    ada.train()
    [line] = lines(capfd)
    assert line.startswith(f"warning: train goes on without MLflow: {server.front.address} ")
    assert reason in line
    assert line.endswith(tracking.LATER)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    server.front.pass_on()
    ada.evaluate()
    ada.project()
    [run] = runs_of(ada)
    assert_complete(run)


CREATE = "/api/2.0/mlflow/runs/create"


@needs_servers
def test_runs_that_a_slow_server_begins_too_late_are_one_in_the_end(
    ada: Project, server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    server.front.delay, server.front.slow = 9.0, "runs/create"
    before = server.front.paths.count(CREATE)
    ada.train()
    assert "Read timed out" in lines(capfd)[0]
    assert server.front.paths.count(CREATE) - before > 1
    while len(server.front.done) < len(server.front.paths):  # the server goes on
        time.sleep(0.2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    server.front.pass_on()
    ada.evaluate()
    ada.project()
    complete, *copies = sorted(runs_of(ada), key=lambda run: "kws.same_as" in run.data.tags)
    assert_complete(complete)
    assert {(run.info.status, run.data.tags["kws.same_as"]) for run in copies} <= {("FAILED", complete.info.run_id)}


def wait_for_curve(project: Project) -> None:
    """Waits until the first epoch is logged."""
    while not any("train_loss" in run.data.metrics for run in runs_of(project)):
        time.sleep(0.2)


@needs_servers
def test_a_server_that_stops_during_training_and_comes_back_has_every_epoch_once(
    ada: Project, server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.port}")
    with tracked_run(ada.params, "train") as run:
        run.start_training(new=True)
        run.log_epoch(CURVES[0])
        wait_for_curve(ada)
        server.stop()
        run.log_epoch(CURVES[1])
        time.sleep(3)  # until it is tried
        server.start(server.store.address)
        ada.write("train")
    warning, again = lines(capfd)
    assert warning.startswith(
        f"warning: train goes on without MLflow: http://127.0.0.1:{server.port} does not answer: "
    )
    assert "Connection refused" in warning
    assert again == "MLflow answers again: what was missing of train is logged"
    ada.evaluate()
    ada.project()
    [run] = runs_of(ada)
    assert_complete(run)


@needs_servers
def test_a_server_that_goes_during_training_and_stays_away_leaves_one_run_that_the_next_stage_completes(
    ada: Project, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    with tracked_run(ada.params, "train") as run:
        run.start_training(new=True)
        run.log_epoch(CURVES[0])
        wait_for_curve(ada)
        server.front.say(503)
        run.log_epoch(CURVES[1])
        ada.write("train")
    assert len(lines(capfd)) == 1
    server.front.pass_on()
    assert [run.info.status for run in runs_of(ada)] == ["RUNNING"]
    ada.evaluate()
    ada.project()
    [run] = runs_of(ada)
    assert_complete(run)


@needs_servers
def test_artifacts_that_do_not_fit_are_logged_by_make_publish_when_there_is_room(
    ada: Project, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    server.store.say(507, "PUT", "POST")
    ada.train()
    ada.evaluate()
    ada.project()
    told = lines(capfd)
    assert [line.split(" goes on")[0] for line in told] == [
        f"warning: {name}" for name in ("train", "evaluate", "project")
    ]
    server.store.pass_on()
    assert publish(ada) == "logged"
    [run] = runs_of(ada)
    assert_complete(run)
    assert len(mlflow.MlflowClient().search_model_versions(f"run_id = '{run.info.run_id}'")) == 1
    assert publish(ada) == "there"


@needs_servers
def test_artifacts_that_do_not_fit_are_logged_by_the_next_stage_when_there_is_room(
    ada: Project, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    server.store.say(507, "PUT", "POST")
    ada.train()
    [line] = lines(capfd)
    assert line.startswith("warning: train goes on without MLflow: ")
    server.store.pass_on()
    ada.evaluate()
    ada.project()
    [run] = runs_of(ada)
    assert_complete(run)
    assert lines(capfd) == []


@needs_servers
def test_nobody_sees_a_secret_in_the_list_of_processes(server: Server) -> None:
    shown = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"--port {server.port}" in shown
    secrets = [*server.passwords.values(), *(path.read_text().strip() for path in server.secrets.glob("*_*"))]
    assert [secret for secret in secrets if secret in shown] == []
    assert {path.stat().st_mode & 0o777 for path in server.secrets.iterdir()} == {0o600}


@needs_servers
@pytest.mark.skipif(not shutil.which("rclone"), reason="needs rclone (Debian: rclone)")
def test_what_was_saved_comes_back_on_an_empty_machine(
    ada: Project, server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ada.train()
    ada.evaluate()
    ada.project()
    saved = server.run("backup.sh", tmp_path / "backups")
    assert saved.returncode == 0, saved.stderr
    [dump] = (tmp_path / "backups").glob("*.dump")
    assert saved.stdout == f"saved: {dump}\n"

    server.stop()
    psql = [postgres.program("psql"), "-qc", "DROP SCHEMA public CASCADE; CREATE SCHEMA public"]
    password = (server.secrets / "postgres_password").read_text()
    subprocess.run(psql, env=server.environment | {"PGPASSWORD": password}, check=True, capture_output=True)
    requests.post(f"http://127.0.0.1:{server.s3}/moto-api/reset", timeout=60).raise_for_status()
    broken = server.run("backup.sh", tmp_path / "broken")  # there is no bucket now
    assert broken.returncode != 0
    assert list((tmp_path / "broken").glob("*.dump*")) == []
    requests.put(f"http://127.0.0.1:{server.s3}/{BUCKET}", timeout=60).raise_for_status()
    absent = server.run("restore.sh", tmp_path / "nothing.dump")
    assert (absent.returncode, absent.stderr) == (1, f"error: {tmp_path / 'nothing.dump'}: no such backup\n")
    restored = server.run("restore.sh", dump)
    assert (restored.returncode, restored.stdout, restored.stderr) == (0, f"restored: {dump}\n", "")
    newer = "CREATE TABLE newer (run varchar(32) REFERENCES runs (run_uuid))"  # as a newer MLflow may make it
    subprocess.run([*psql[:-1], newer], env=server.environment | {"PGPASSWORD": password}, check=True)
    again = server.run("restore.sh", dump)
    assert (again.returncode, again.stdout, again.stderr) == (0, f"restored: {dump}\n", "")
    half = tmp_path / "backups" / "half.dump"
    half.write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    refused = server.run("restore.sh", half)
    assert refused.returncode != 0  # and what is there stays
    server.start(server.store.address)
    [run] = runs_of(ada)  # as ada, with her password
    assert_complete(run)
    ada.project()  # downloads the champion's answers, and doubles nothing
    assert "cannot be had" not in capfd.readouterr().out
    assert len(runs_of(ada)) == 1


@needs_servers
@pytest.mark.skipif(not shutil.which("caddy"), reason="needs Caddy (Debian: caddy)")
def test_through_tls_a_run_is_logged_and_a_certificate_that_nobody_knows_is_refused(
    ada: Project, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    openssl += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(openssl, cwd=tmp_path, check=True, capture_output=True)
    port = free_port()
    own = f"\ttls {tmp_path}/cert.pem {tmp_path}/key.pem\n\treverse_proxy"
    text = (DEPLOY / "Caddyfile").read_text().replace("\treverse_proxy", own)
    here = "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\tauto_https disable_redirects\n}\n"
    (tmp_path / "Caddyfile").write_text(here + text)
    names = {"KWS_HOST": f"localhost:{port}", "KWS_UPSTREAM": f"127.0.0.1:{server.port}", "HOME": str(tmp_path)}
    with (tmp_path / "caddy.txt").open("w") as log:
        command = ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
        caddy = subprocess.Popen(command, cwd=tmp_path, env=os.environ | names, stdout=log, stderr=log)
    try:
        wait_for(f"https://localhost:{port}", caddy, tmp_path / "caddy.txt", verify=str(tmp_path / "cert.pem"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://localhost:{port}")
        ada.train()
        [line] = lines(capfd)
        assert "certificate verify failed" in line
        https = {"MLFLOW_TRACKING_URI": f"https://localhost:{port}"}
        refused = server.users("password", "ada", **https)
        assert refused.stderr.startswith(f"error: https://localhost:{port} does not answer: [SSL: CERTIFICATE_VERIFY")
        assert len(refused.stderr.splitlines()) == 1
        taken = server.users("add", "dan", **https, MLFLOW_TRACKING_SERVER_CERT_PATH=str(tmp_path / "cert.pem"))
        assert taken.stdout.startswith("dan: ")
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "cert.pem"))
        ada.evaluate()
        ada.project()
        [run] = runs_of(ada)
        assert_complete(run)
        assert lines(capfd) == []
    finally:
        caddy.terminate()
        caddy.wait()


@needs_servers
def test_pipeline_queue_and_registry_of_two_people_at_once(
    server: Server, log_in: Callable[..., None], environment: dict[str, str], tmp_path: Path
) -> None:
    import mlflow

    log_in("ada")
    before = {version.version for version in mlflow.MlflowClient().search_model_versions("name = 'kws'")}

    def as_user(name: str) -> dict[str, str]:
        login = {"MLFLOW_TRACKING_URI": server.front.address, "MLFLOW_TRACKING_USERNAME": name}
        return environment | login | {"MLFLOW_TRACKING_PASSWORD": server.passwords[name]}

    ada = Checkout.create(tmp_path / "ada", as_user("ada"))
    ada.set(**TINY)
    ada.commit()
    bob = ada.clone(tmp_path / "bob")
    bob.environment = as_user("bob")
    bob.run("dvc", "exp", "run", "--queue", "-S", "seed=7001")
    both = [
        subprocess.Popen(words, cwd=each.root, env=each.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for each, words in ((ada, ["dvc", "repro"]), (bob, ["dvc", "exp", "run", "--run-all", "--jobs", "1"]))
    ]
    for one in both:
        printed, _ = one.communicate(timeout=900)
        assert one.returncode == 0, printed
        assert b"goes on without MLflow" not in printed
    server.front.say(503)
    away = ada.run("dvc", "exp", "run", "--temp", "--name", "away", "-S", "seed=7002")
    assert away.count("goes on without MLflow") == 4  # once a stage
    server.front.pass_on()
    told = ada.run(sys.executable, "-m", "kws.commands.publish", PYTHONPATH="src")
    assert "MLflow: 1 runs made from files (away); 1 were there" in told
    client = mlflow.MlflowClient()
    seeds = {}
    for run in client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], max_results=1000):
        seeds.setdefault(run.data.params.get("seed"), []).append(run)  # a run of another test may have none
    default = str(load_params(ROOT / "params.yaml").seed)
    for seed in (default, "7001", "7002"):
        [run] = [run for run in seeds[seed] if run.data.params["words"] == "no, yes"]
        assert (run.info.status, run.data.tags["kws.last_stage"]) == ("FINISHED", "project")
        assert {item.path for item in client.list_artifacts(run.info.run_id, "plots")} == set(PICTURES)
    after = {version.version for version in client.search_model_versions("name = 'kws'")}
    assert len(after - before) == 3


def test_the_compose_file_is_valid_and_names_files_that_are_there() -> None:
    import yaml

    check = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*check, DEPLOY / "compose.yaml"], check=True)
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    mounted = [volume.split(":")[0] for each in compose["services"].values() for volume in each.get("volumes", [])]
    files = [DEPLOY / path for path in mounted if path.startswith("./") and path != "./backups"]
    assert [path for path in files if not path.exists()] == []
    assert (DEPLOY / compose["services"]["mlflow"]["build"]["context"] / "server.txt").exists()
    made = {Path(secret["file"]) for secret in compose["secrets"].values()}
    script = (DEPLOY / "make_secrets.sh").read_text()
    assert all(path.parent == Path("secrets") and path.name in script for path in made)


def test_the_units_of_systemd_are_valid(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    for unit in (DEPLOY / "systemd").glob("kws-*"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/kws", str(ROOT)))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(tmp_path.glob("kws-*"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_secrets_are_ignored_by_git() -> None:
    asked = [*(DEPLOY / "secrets" / name for name in ("s3", "flask_key")), DEPLOY / "backups" / "a.dump"]
    done = subprocess.run(["git", "check-ignore", *asked], cwd=ROOT, capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == len(asked)


def test_secrets_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make = [DEPLOY / "make_secrets.sh", folder]
    told = subprocess.run(make, check=True, capture_output=True, text=True).stdout
    assert told == f"write the credentials of S3 into {folder}/s3\n"
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(before) == {"admin_password", "flask_key", "postgres_password", "s3"}
    assert len(set(before.values())) == 4
    assert subprocess.run(make, check=True, capture_output=True, text=True).stdout == ""
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
