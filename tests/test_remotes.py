"""Two people share a project through real servers (moto for S3, OpenSSH, WsgiDAV), as docs/remotes.md tells them."""

import contextlib
import getpass
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from checkout import LATENCIES, ROOT, Project, outputs, ran
from environments import environment_of, needs_network

from kws.core import paths
from kws.train.models import load_model

PAGE = (ROOT / "docs" / "remotes.md").read_text(encoding="utf-8")
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
needs_sshd = pytest.mark.skipif(
    sys.platform != "linux" or SSHD is None or importlib.util.find_spec("dvc_ssh") is None,
    reason="needs Linux with openssh-server, and dvc-ssh",
)
KINDS = [
    pytest.param("S3", marks=needs_network),
    pytest.param("SSH", marks=needs_sshd),
    pytest.param("WebDAV", marks=needs_network),
]
USER = "nobody" if os.geteuid() == 0 else getpass.getuser()  # sshd without rights knows only who started it
PASSWORD = "a pass'word"
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),  # MLflow, of itself
]


@dataclass(frozen=True)
class Remote:
    """A server that runs, as the commands of the page need it."""

    kind: str
    values: dict[str, str]  # what stands in the commands of the page, and what stands there in the test
    variables: dict[str, str] = field(default_factory=dict)  # the environment of a person
    store: Path | None = None  # where its files lie, as its process sees them

    def commands(self, *, local: bool) -> Iterator[list[str]]:
        """The commands of the page: those that one person types, or those of each person."""
        section = PAGE.split(f"\n### {self.kind}\n")[1].split("\n###")[0]
        for block in re.findall(r"^```\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                words = [self.values.get(word, word) for word in shlex.split(line)]
                if (not {"--local", ".dvc/config.local"}.isdisjoint(words)) == local:
                    yield words


@pytest.fixture(scope="module")
def person(environment, tmp_path_factory) -> Callable[..., dict[str, str]]:
    """Makes the environment of a person, who has a home and DVC's own folders, and no settings there."""

    def make(**variables: str) -> dict[str, str]:
        home = tmp_path_factory.mktemp("home")
        theirs = {name: value for name, value in environment.items() if not name.startswith(("AWS_", "SSH_"))}
        settings = {"HOME": str(home), "DVC_SITE_CACHE_DIR": str(home / "dvc"), "AWS_EC2_METADATA_DISABLED": "true"}
        return theirs | settings | variables

    return make


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def started(command: Sequence[object], port: int, log: Path, **settings: Any) -> Iterator[subprocess.Popen]:
    """Starts a server, and waits until it listens on the port."""
    with log.open("w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file, **settings)
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"it does not listen: {log.read_text()}")
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[Remote]:
    """S3 with a bucket `kws` and a user who may use it. moto keeps all in memory."""
    import botocore.session

    port = free_port()
    server = [environment_of("servers") / "moto_server", "--host", "127.0.0.1", "--port", port]
    asked_before_rights_count = {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}
    address = f"http://127.0.0.1:{port}"
    with started(server, port, folder / "moto.log", env=os.environ | asked_before_rights_count):
        session = botocore.session.get_session()
        session.set_credentials("nobody", "nothing")
        iam, bucket = (session.create_client(name, "us-east-1", endpoint_url=address) for name in ("iam", "s3"))
        iam.create_user(UserName="ann")
        key = iam.create_access_key(UserName="ann")["AccessKey"]
        rights = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_user_policy(UserName="ann", PolicyName="all", PolicyDocument=json.dumps(rights))
        bucket.create_bucket(Bucket="kws")
        variables = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        yield Remote("S3", {"https://s3.example.org": address}, variables)


@contextlib.contextmanager
def ssh(_: Path, before: str = "") -> Iterator[Remote]:
    """OpenSSH without rights, with a key made for it. Its folder lies where the user `nobody` may go.

    `before`: what a shell does with `{store}` before it, in mounts of its own.
    """
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="kws-sshd-"))
    try:
        for name in ("host", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "store").mkdir()
        (folder / "sshd_config").write_text(f"""
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
""")
        key = folder.with_name(f"{folder.name}-key")
        shutil.copy(folder / "key", key)  # which stays ours
        server = [SSHD, "-D", "-e", "-f", folder / "sshd_config"]
        settings = {}
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, USER)
            settings = {"user": USER, "group": "nogroup", "extra_groups": []}
        if before:
            drop = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups"]
            script = f"{before.format(store=folder / 'store')} && exec {shlex.join(map(str, drop + server))}"
            server, settings = ["unshare", "--mount", "sh", "-c", script], {}
        values = {
            "ssh://ann@files.example.org/srv/kws": f"ssh://{USER}@127.0.0.1:{port}{folder}/store/kws",
            "~/.ssh/id_kws": str(key),
        }
        with started(server, port, folder.with_name(f"{folder.name}.log"), **settings) as process:
            seen = Path(f"/proc/{process.pid}/root") if before else Path("/")
            yield Remote("SSH", values, store=seen / folder.relative_to("/") / "store" / "kws")
    finally:
        shutil.rmtree(folder)
        for path in folder.parent.glob(f"{folder.name}*"):
            path.unlink()


@contextlib.contextmanager
def webdav(folder: Path, before: str = "") -> Iterator[Remote]:
    """WsgiDAV with a folder `kws`, for user ann. `before` as in `ssh`."""
    port, root = free_port(), folder / "dav"
    (root / "kws").mkdir(parents=True)
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "provider_mapping": {"/": str(root)},
        "simple_dc": {"user_mapping": {"*": {"ann": {"password": PASSWORD}}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "verbose": 1,
    }
    (folder / "wsgidav.yaml").write_text(yaml.safe_dump(settings))
    server = [environment_of("servers") / "wsgidav", "--config", folder / "wsgidav.yaml"]
    if before:
        script = f"{before.format(store=root)} && mkdir {root}/kws && exec {shlex.join(map(str, server))}"
        server = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    with started(server, port, folder / "wsgidav.log") as process:
        values = {"webdavs://files.example.org/kws": f"webdav://127.0.0.1:{port}/kws", "secret": PASSWORD}
        yield Remote("WebDAV", values, store=Path(f"/proc/{process.pid}/root{root}/kws"))


SERVERS = {"S3": s3, "SSH": ssh, "WebDAV": webdav}


@pytest.fixture(scope="module")
def remote(request, tmp_path_factory) -> Iterator[Remote]:
    with SERVERS[request.param](tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def ann(finished, remote, person, tmp_path_factory) -> Project:
    """Person A's project, whose commit and files are pushed. Its git remote is `origin`."""
    folder = tmp_path_factory.mktemp("ann")
    project = Project(finished.copy(folder / "kws").root, person(**remote.variables))
    for command in (*remote.commands(local=False), *remote.commands(local=True)):
        project.run(*command)
    project.commit()
    project.run("git", "clone", "--quiet", "--bare", ".", str(folder / "origin.git"))
    project.run("git", "remote", "add", "origin", str(folder / "origin.git"))
    assert "pushed" in project.run("dvc", "push")
    return project


def clone_of(ann: Project, remote: Remote, folder: Path, environment: dict[str, str]) -> Project:
    """A clone by another person, who has typed what each person types."""
    origin = ann.root.parent / "origin.git"
    subprocess.run(["git", "clone", "--quiet", origin, folder], check=True, env=environment)
    project = Project(folder, environment)
    for command in remote.commands(local=True):
        project.run(*command)
    return project


@pytest.fixture(scope="module")
def bob(ann, remote, person, tmp_path_factory) -> Project:
    """Person B's clone, after `make pull`, of which nothing but the pipeline's code is there before."""
    return clone_of(ann, remote, tmp_path_factory.mktemp("bob") / "kws", person(**remote.variables))


def pull(project: Project) -> list[str]:
    """What `make pull` does once .venv is there; the last lines that it prints, of MLflow."""
    printed = project.run(sys.executable, "-m", "kws.commands.pull", PYTHONPATH="src")
    assert ran(printed) == []
    return [line for line in printed.splitlines() if line.startswith(("MLflow:", "left out:"))]


def content(root: Path) -> dict[str, str]:
    """SHA-256 of each file that the pipeline writes, and of what it was made with."""
    found = {}
    for path in (*outputs(in_git=False), *outputs(in_git=True), "data/tracked.json", "dvc.lock", "params.yaml"):
        assert (root / path).exists(), path
        files = [root / path] if (root / path).is_file() else (root / path).rglob("*")
        found |= {
            str(file.relative_to(root)): sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()
        }
    return found


def told(root: Path, key: str) -> dict[str, Any]:
    """What MLflow's store in a project says of the experiment with this key, less what differs between machines."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("kws").experiment_id], f"tags.`kws.key` = '{key}'")
    [run] = runs
    folder = Path(urlsplit(run.info.artifact_uri).path)
    curves = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    points = {name: client.get_metric_history(run.info.run_id, name) for name in curves}
    [version] = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    return {
        "status": run.info.status,
        "params": run.data.params,
        "figures": {name: value for name, value in run.data.metrics.items() if name not in LATENCIES},
        "curves": {name: sorted((point.step, point.value) for point in each) for name, each in points.items()},
        "tags": {
            name: value
            for name, value in run.data.tags.items()
            if name.startswith(("kws.", "dvc.")) and name != "kws.begun_in"
        },
        "data": [(each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs],
        "files": {
            str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest()
            for file in folder.rglob("*")
            if file.is_file()
        },
        "model": version.tags,
    }


def key_of(project: Project) -> str:
    return json.loads((project.root / "data" / "tracked.json").read_text())["experiment"]


PREDICT = """
import mlflow, numpy
mlflow.set_tracking_uri("sqlite:///mlflow.db")
print(mlflow.pyfunc.load_model("models:/kws@champion").predict(numpy.zeros((1, 16000), numpy.float32)))
"""


@pytest.mark.parametrize("remote", KINDS, indirect=True)
def test_a_clone_has_all_that_was_pushed_and_its_run_without_running_anything(finished, ann, bob, remote):
    assert pull(bob) == ["MLflow: 1 runs made from files (this workspace); 0 were there"]
    assert content(bob.root) == content(ann.root)
    assert json.loads(bob.run("dvc", "status", "--json")) == {"watch": ["always changed"]}
    assert bob.changed() == []
    assert bob.run("dvc", "metrics", "show", "--json") == ann.run("dvc", "metrics", "show", "--json")
    run = told(bob.root, key_of(bob))
    assert run == told(finished.root, key_of(finished))
    assert run["status"] == "FINISHED"
    assert load_model(bob.root / paths.MODEL)[1] == load_model(finished.root / paths.MODEL)[1]
    if remote.kind == "S3":
        assert "label" in bob.run(sys.executable, "-c", PREDICT)
        bob.run(sys.executable, "-m", "kws.commands.plots_page", PYTHONPATH="src")
        bob.run("dvc", "plots", "show")
        assert "curves.png" in (bob.root / "dvc_plots" / "index.html").read_text()
    assert pull(bob) == ["MLflow: 0 runs made from files (none); 1 were there"]
    if remote.kind == "WebDAV":
        assert (bob.root / ".dvc/config.local").stat().st_mode & 0o777 == 0o600
    # and no password is where git has it
    everything = bob.run("git", "log", "--all", "--patch") + bob.run("git", "status", "--porcelain")
    secrets = [remote.values.get("secret", ""), *remote.variables.values(), remote.values.get("~/.ssh/id_kws", "")]
    assert [secret for secret in secrets if secret and secret in everything] == []


@pytest.mark.parametrize("remote", KINDS, indirect=True)
def test_an_experiment_of_b_comes_to_a(ann, bob):
    pull(bob)
    assert ran(bob.run("dvc", "exp", "run", "-S", "umap_neighbors=3", "--name", "bees")) == ["project"]
    theirs = told(bob.root, key_of(bob))
    assert theirs["tags"]["dvc.exp"] == "bees"
    files = content(bob.root)
    bob.run("dvc", "exp", "push", "origin", "bees")
    assert pull(ann)[0].startswith("MLflow: 2 runs made from files (this workspace, bees); 0 were there")
    ours = told(ann.root, json.loads((bob.root / paths.TRACKED).read_text())["experiment"])
    assert ours == theirs
    before = content(ann.root)
    ann.run("dvc", "exp", "apply", "bees")
    assert pull(ann) == ["MLflow: 0 runs made from files (none); 2 were there"]  # writes data/tracked.json
    assert content(ann.root) == files != before
    assert json.loads(ann.run("dvc", "status", "--json")) == {"watch": ["always changed"]}


@pytest.fixture
def small(remote, person, tmp_path) -> Project:
    """A project with a file, a folder and the remote of the page, committed; nothing is pushed."""
    return small_project(remote, tmp_path / "small", person(**remote.variables))


def small_project(remote: Remote, root: Path, environment: dict[str, str]) -> Project:
    project = Project(root, environment)
    (root / "data").mkdir(parents=True)
    for name in ("file", "data/one", "data/two"):
        (root / name).write_bytes(os.urandom(300_000))
    for command in ("git init -q", "dvc init -q", "git commit -q -m before", "dvc add -q file data"):
        project.run(*command.split())
    for command in (*remote.commands(local=False), *remote.commands(local=True)):
        project.run(*command)
    project.commit()
    return project


def refused(project: Project, command: str, **variables: str) -> str:
    """What DVC prints when it cannot carry out a command."""
    code, printed = project.try_to(*command.split(), **variables)
    assert code != 0, printed
    assert "Traceback" not in printed
    return printed


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """A port at which a server takes what it gets, and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def address(remote: Remote, port: int, folder: str = "") -> str:
    """The remote's address, with another port or another folder."""
    [url] = [value for value in remote.values.values() if "://" in value]
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}", path=folder or parts.path).geturl()


def port_of(remote: Remote) -> int:
    [url] = [value for value in remote.values.values() if "://" in value]
    return urlsplit(url).port


MODIFY = "dvc remote modify --local storage"


@pytest.mark.parametrize("remote", KINDS, indirect=True)
def test_a_server_that_is_not_there_is_in_the_page(small, remote):
    setting = "endpointurl" if remote.kind == "S3" else "url"
    small.run(*MODIFY.split(), setting, address(remote, free_port()))
    said = {"S3": "Could not connect to the endpoint URL", "SSH": "Connect call failed", "WebDAV": "Connection refused"}
    assert said[remote.kind] in refused(small, "dvc push")
    assert f"| `{said[remote.kind]}` |" in PAGE


@pytest.mark.parametrize("remote", KINDS[1:], indirect=True)
def test_a_server_that_does_not_answer_is_in_the_page(small, remote, silent):
    small.run(*MODIFY.split(), "url", address(remote, silent))
    small.run(*MODIFY.split(), "timeout", "1")
    said = {"SSH": "unexpected error - : :", "WebDAV": "timed out"}[remote.kind]
    assert said in refused(small, "dvc push")
    assert f"| `{said}` |" in PAGE


@pytest.mark.parametrize("remote", KINDS, indirect=True)
def test_a_wrong_password_or_key_is_in_the_page(small, remote, tmp_path):
    if remote.kind == "SSH":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
        small.run(*MODIFY.split(), "keyfile", str(tmp_path / "other"))
    if remote.kind == "WebDAV":
        small.run(*MODIFY.split(), "password", "wrong")
    said = {"S3": "An error occurred (403)", "SSH": "Permission denied for user", "WebDAV": "received 401"}[remote.kind]
    wrong = {name: "wrong" for name in remote.variables if "SECRET" in name}
    assert said in refused(small, "dvc push", **wrong)
    assert f"| `{said}` |" in PAGE


@pytest.mark.parametrize("remote", KINDS[:1], indirect=True)
def test_no_keys_for_s3_and_no_bucket_are_in_the_page(small, person):
    without = Project(small.root, person())
    assert "Unable to locate credentials" in refused(without, "dvc push")
    small.run(*MODIFY.split(), "url", "s3://nothing/store")
    assert "The specified bucket does not exist" in refused(small, "dvc push")
    assert "| `Unable to locate credentials` |" in PAGE
    assert "| `The specified bucket does not exist` |" in PAGE


@pytest.mark.parametrize("remote", KINDS[1:2], indirect=True)
def test_no_key_for_ssh_and_no_right_to_the_folder_are_in_the_page(small, remote):
    (remote.store.parent / "closed").mkdir(mode=0)
    folder = Path(urlsplit(address(remote, 1)).path).with_name("closed") / "kws"
    small.run(*MODIFY.split(), "url", address(remote, port_of(remote), str(folder)))
    assert re.search(r"- Permission denied$", refused(small, "dvc push"), flags=re.MULTILINE)
    (remote.store.parent / "closed").rmdir()
    assert "| `Permission denied`, and no user |" in PAGE
    small.run(*MODIFY.split(), "keyfile", "/nowhere/key")
    assert "No such file or directory: '/nowhere/key'" in refused(small, "dvc push")
    assert "| `No such file or directory:` and the name of a key |" in PAGE


@pytest.mark.parametrize("remote", KINDS[2:], indirect=True)
def test_no_folder_for_webdav_and_no_package_are_in_the_page(small, remote):
    script = "import sys; sys.modules['dvc_webdav'] = None; from dvc.cli import main; sys.exit(main(['push']))"
    code, printed = small.try_to(sys.executable, "-c", script)
    assert code != 0
    assert "requires 'dvc-webdav' to be installed" in printed
    assert "| `requires 'dvc-webdav' to be installed`" in PAGE
    small.run(*MODIFY.split(), "url", address(remote, port_of(remote), "/nothing"))
    assert "could not be found in the server" in refused(small, "dvc push")
    assert "| `could not be found in the server`, in a push |" in PAGE


@pytest.mark.parametrize("remote", KINDS[2:], indirect=True)
def test_what_nobody_pushed_an_older_commit_and_no_remote_are_in_the_page(small, remote, tmp_path):
    small.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", small.environment)
    for command in remote.commands(local=True):
        clone.run(*command)
    printed = refused(clone, "dvc pull")
    said = "Some of the cache files do not exist neither locally nor on remote"
    assert said in printed
    assert printed.rstrip().splitlines()[-2] == "Is your cache up to date?"
    assert f"| `{said}`, then a list that ends in `Is your cache up to date?` |" in PAGE

    said = "expected 'url' for dictionary value @ data['remote']['storage']"
    clone.run("git", "checkout", "-q", "HEAD~1")
    assert said in refused(clone, "dvc status")
    assert f"| `{said}` |" in PAGE
    clone.run("git", "checkout", "-q", "-")
    clone.run(*MODIFY.split(), "url", address(remote, port_of(remote)))
    clone.run("git", "checkout", "-q", "HEAD~1")
    clone.run("dvc", "status")
    assert "no remote specified" in refused(clone, "dvc push")
    assert "| `no remote specified` |" in PAGE


TMPFS = "mount -t tmpfs -o size=2m,mode=777 tmpfs {store} && head -c 1600000 /dev/zero >{store}/other"


def mounting_is_allowed(*options: str) -> bool:
    probe = ["unshare", *options, "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return bool(shutil.which("unshare")) and subprocess.run(probe, capture_output=True, check=False).returncode == 0


@needs_sshd
@pytest.mark.skipif(os.geteuid() != 0 or not mounting_is_allowed(), reason="no file system may be mounted here")
def test_a_full_disk_on_ssh_leaves_nothing_half_written(person, tmp_path):
    with ssh(tmp_path, TMPFS) as remote:
        project = small_project(remote, tmp_path / "small", person())
        printed = refused(project, "dvc push")
        assert re.search(r"failed to transfer '\w+' - Failure", printed)
        assert "failed to push data to the cloud" in printed
        assert broken(remote.store) == []
        (remote.store.parent / "other").unlink()
        assert "pushed" in project.run("dvc", "push")
        assert_pulled(project, tmp_path / "clone", remote)


@needs_network
@pytest.mark.skipif(not mounting_is_allowed("--map-root-user"), reason="no file system may be mounted here")
def test_what_a_full_disk_on_webdav_leaves_is_not_pulled_and_is_removed_as_the_page_says(person, tmp_path):
    with webdav(tmp_path, TMPFS) as remote:
        project = small_project(remote, tmp_path / "small", person())
        printed = refused(project, "dvc push")
        assert "- received 500" in printed
        assert "failed to push data to the cloud" in printed
        (remote.store.parent / "other").unlink()
        left = broken(remote.store)
        assert left
        project.run("dvc", "push")  # takes them for whole
        assert broken(remote.store) == left

        unaware = clone_small(project, tmp_path / "unaware", remote)
        unaware.run("dvc", "remote", "modify", "storage", "verify", "false")
        unaware.run("dvc", "pull")
        assert contents(unaware) != contents(project)  # and no word of it: this is why the page has `verify true`
        clone = clone_small(project, tmp_path / "clone", remote)
        assert "Checkout failed" in refused(clone, "dvc pull")
        assert all(contents(project)[name] == sum_ for name, sum_ in contents(clone).items())

        [script] = re.findall(r"^```\n(cd files/md5\n.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
        subprocess.run(["bash", "-c", script], check=True, cwd=remote.store)
        assert broken(remote.store) == []
        assert "pushed" in project.run("dvc", "push")
        assert_pulled(project, tmp_path / "another", remote)


def broken(store: Path) -> list[Path]:
    """The files of a remote whose content is not what their name says."""
    files = [path for path in sorted((store / "files" / "md5").glob("*/*")) if path.is_file()]
    return [path for path in files if md5(path.read_bytes()).hexdigest() != path.parent.name + path.stem]


def contents(project: Project) -> dict[str, str]:
    paths = [project.root / "file", *(project.root / "data").glob("*")]
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()}


def clone_small(project: Project, folder: Path, remote: Remote) -> Project:
    """A clone by a person who has DVC's own folders for themselves."""
    home = folder.with_name(f"{folder.name}-home")
    project.run("git", "clone", "-q", ".", str(folder))
    clone = Project(folder, project.environment | {"HOME": str(home), "DVC_SITE_CACHE_DIR": str(home / "dvc")})
    for command in remote.commands(local=True):
        clone.run(*command)
    return clone


def assert_pulled(project: Project, folder: Path, remote: Remote) -> None:
    clone = clone_small(project, folder, remote)
    clone.run("dvc", "pull")
    assert contents(clone) == contents(project)
