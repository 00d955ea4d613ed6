import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT
from test_training import PLAIN, RICH, SPEC, tiny

from kws.core.errors import UserError
from kws.records.format import count_records
from kws.records.read import Part, read_split, training_batches
from kws.records.spec import FeatureSpec
from kws.records.write import RecordWriter, write_background_power
from kws.train import meeting, models, training, workers
from kws.train.meeting import Place


def dense() -> keras.Model:
    """A network in which no clip knows of another, and without dropout."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((20, 16, 1), name="log_mel"),
            layers.Normalization(axis=-2, name="normalization"),
            layers.Flatten(name="flatten"),
            layers.Dense(8, activation="relu", name="embedding"),
            layers.Dense(2, name="logits"),
        ]
    )


# All clips in each step: the order does not matter
ALIKE = replace(PLAIN, batch_size=96, learning_rate=0.01, weight_decay=0.1, weight_averaging=0.6, label_smoothing=0.1)
KINDS = {"rich": (tiny, RICH), "alike": (dense, ALIKE)}  # for tests/train_workers.py
CONNECT_SECONDS = 30  # here, where workers are not slow to connect
HEARTBEAT_SECONDS = 20  # here, where no machine stands still for a while
ADDRESSES = "127.0.0.1:1234,127.0.0.1:1235,127.0.0.1:1236"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """As those of test_training, in several shards."""
    folder = tmp_path_factory.mktemp("workers") / "features"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with RecordWriter(folder, {"train": 3000, "validation": 2000}) as records:  # of 1024 clips each
        for split in ("train", "validation"):
            for index in range(SPEC.clips[split]):
                log_mel = rng.normal(scale=2.0, size=(36, 16)).astype(np.float32) - 5
                log_mel[:, 8 * (index % 2) : 8 * (index % 2) + 8] += 0.25
                records.write(split, f"{split}{index}", "voice", index % 2, np.exp(log_mel))
    noise = np.exp(rng.normal(size=(60, 16)) - 5).astype(np.float32)
    write_background_power(folder, [(split, "noise", noise) for split in SPEC.clips])
    return folder


def names(batches) -> list[list[str]]:
    return [batch["name"].astype(str).tolist() for batch in batches.as_numpy_iterator()]


@pytest.mark.parametrize("of", [2, 3])
def test_all_workers_together_read_each_clip_once_in_as_many_batches_as_one_machine(features, of):
    steps = training.steps_of(SPEC, PLAIN)
    heard = []
    for worker in range(of):
        part = Part.of(features, "train", worker, of)
        assert [path.name for path in part.shards] == [f"train-{n:05d}-of-00003.tfrecord" for n in range(worker, 3, of)]
        batches = names(training_batches(features, SPEC, PLAIN.batch_size, 1, 1, part=part))
        assert len(batches) == steps == 3
        assert {len(batch) for batch in batches} <= {part.clips // steps, part.clips // steps + 1}
        heard += chain.from_iterable(batches)
        assert batches == names(training_batches(features, SPEC, PLAIN.batch_size, 1, 1, part=part))
        assert batches != names(training_batches(features, SPEC, PLAIN.batch_size, 1, 2, part=part))
    assert sorted(heard) == sorted(f"train{number}" for number in range(96))
    validated = []
    for worker in range(of):
        part = Part.of(features, "validation", worker, of)
        validated += chain.from_iterable(names(read_split(features, "validation", SPEC, 3, part=part)))
    assert sorted(validated) == sorted(f"validation{number}" for number in range(16))


def test_a_worker_finds_its_shards_where_only_these_are(features, tmp_path):
    (tmp_path / "train-00001-of-00003.tfrecord").write_bytes((features / "train-00001-of-00003.tfrecord").read_bytes())
    assert Part.of(tmp_path, "train", 1, 2).clips == Part.of(features, "train", 1, 2).clips > 0
    assert Part.of(tmp_path, "train", 0, 2).clips == 0
    assert Part.of(tmp_path, "validation", 1, 2) == Part(1, 2, [], 0)


def test_records_are_counted_and_a_cut_off_file_is_a_line(features, tmp_path):
    shard = features / "train-00000-of-00003.tfrecord"
    assert sum(map(count_records, features.glob("train-*"))) == 96
    cut = tmp_path / shard.name
    for length in (1, 100):
        cut.write_bytes(shard.read_bytes()[:-length])
        with pytest.raises(UserError, match=f"{shard.name} is damaged: run dvc repro --force"):
            count_records(cut)
    cut.write_bytes(bytes(40))
    with pytest.raises(UserError, match="is damaged"):
        count_records(cut)


def test_no_two_batches_of_workers_are_augmented_alike(features):
    def augmenter(_, labels, seed):
        return seed[None], labels

    seeds = []
    for worker in range(2):
        part = Part.of(features, "train", worker, 2)
        for epoch in (1, 2):
            found = training.augmented_clips(features, SPEC, PLAIN, epoch, augmenter, part=part)
            seeds += [tuple(batch["log_mel"][0]) for batch in found.as_numpy_iterator()]
    assert len(set(seeds)) == len(seeds) == 2 * 2 * 3


def test_each_replica_draws_dropout_of_its_own_and_the_first_that_of_one_machine():
    model = tiny()
    drawn = [
        tuple(tuple(values) for _, values in training.dropout_seeds(model, 1, 1, *replica))
        for replica in ((), (0,), (1,), (2,))
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_without_the_variables_a_process_trains_alone(make_params, monkeypatch, tmp_path):
    monkeypatch.delenv(meeting.WORKERS, raising=False)
    monkeypatch.delenv(meeting.WORKER, raising=False)
    assert workers.join(tmp_path, make_params(), PLAIN) is None
    with workers.scope(None):
        assert type(tiny().weights[0].value).__name__ == "ResourceVariable"


def test_without_the_variables_the_weights_are_those_of_fit(features, tmp_path):
    recipe = replace(RICH, epochs=1)
    training.make_deterministic(recipe.seed, threads=2)
    trained, _ = training.train_model(
        tiny(), features, SPEC, recipe=recipe, checkpoint=tmp_path, on_epoch=lambda _: None
    )
    training.make_deterministic(recipe.seed, threads=2)
    model = tiny()
    model.compile(training.optimizer_of(recipe, 3), keras.losses.CategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    average = training.WeightAverage(model, recipe.weight_averaging)
    batches = read_split(features, "train", SPEC, recipe.batch_size)
    model.get_layer("normalization").adapt(batches.map(lambda batch: batch["log_mel"]))
    for index in (1, 5):
        state = model.layers[index].seed_generator.state
        state.assign(np.random.SeedSequence((recipe.seed, 1, index)).generate_state(2))
    clips = training.smoothed_clips(
        features, SPEC, recipe, 1, training.augmenter_of(features, SPEC, recipe.augmentation)
    )
    model.fit(clips, shuffle=False, verbose=0, callbacks=[average])
    with average.in_place():
        assert workers.weights_digest(trained) == workers.weights_digest(model)


@pytest.mark.parametrize(
    ("listed", "number", "problem"),
    [
        (ADDRESSES, "", "KWS_TRAIN_WORKER is not set: set both KWS_TRAIN_WORKERS and KWS_TRAIN_WORKER, or neither"),
        ("", "1", "KWS_TRAIN_WORKERS is not set: set both KWS_TRAIN_WORKERS and KWS_TRAIN_WORKER, or neither"),
        (ADDRESSES, "3", "KWS_TRAIN_WORKER is 3: it must be 0 to 2, since KWS_TRAIN_WORKERS has 3 workers"),
        (ADDRESSES, "-1", "KWS_TRAIN_WORKER is -1: it must be 0 to 2, since KWS_TRAIN_WORKERS has 3 workers"),
        (ADDRESSES, "one", "KWS_TRAIN_WORKER is one: it must be 0 to 2, since KWS_TRAIN_WORKERS has 3 workers"),
        ("a:1", "1", "KWS_TRAIN_WORKER is 1: it must be 0, since KWS_TRAIN_WORKERS has 1 workers"),
        ("a:1,b", "0", "KWS_TRAIN_WORKERS: 'b' is no host:port: give host:port,host:port,…, the chief first"),
        ("a:1,", "0", "KWS_TRAIN_WORKERS: '' is no host:port: give host:port,host:port,…, the chief first"),
        ("a:0", "0", "KWS_TRAIN_WORKERS: 'a:0' is no host:port: give host:port,host:port,…, the chief first"),
        ("a:65536", "0", "KWS_TRAIN_WORKERS: 'a:65536' is no host:port: give host:port,host:port,…, the chief first"),
        (":1", "0", "KWS_TRAIN_WORKERS: ':1' is no host:port: give host:port,host:port,…, the chief first"),
        ("a:1,a:1", "0", "KWS_TRAIN_WORKERS: an address stands there twice: a:1,a:1"),
    ],
)
def test_a_wrong_environment_is_a_line(listed, number, problem):
    with pytest.raises(UserError) as raised:
        Place.of({"KWS_TRAIN_WORKERS": listed, "KWS_TRAIN_WORKER": number})
    assert str(raised.value) == problem


def test_the_environment_says_which_worker_this_is():
    place = Place.of({"KWS_TRAIN_WORKERS": "chief.lab:1234, b:1235 ,[::1]:7", "KWS_TRAIN_WORKER": "2"})
    assert place == Place(("chief.lab:1234", "b:1235", "[::1]:7"), 2)
    assert not place.is_chief
    assert Place.of({"KWS_TRAIN_WORKERS": " ", "KWS_TRAIN_WORKER": ""}) is None
    assert Place.of({"KWS_TRAIN_WORKERS": "a:1", "KWS_TRAIN_WORKER": "0"}).is_chief


@pytest.fixture
def addresses():
    """Three addresses of this machine that nobody uses."""
    with ExitStack() as sockets:
        found = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [one.getsockname()[1] for one in found]
    return tuple(f"127.0.0.1:{port}" for port in ports)


def meet_all(*workers: tuple[Place, dict[str, str]], wait: float = 20.0) -> list[str]:
    """What becomes of each worker that comes: its error, or nothing."""
    ended = [""] * len(workers)

    def come(index: int, place: Place, described: dict[str, str]) -> None:
        try:
            meeting.meet(place, described, wait)
        except UserError as error:
            ended[index] = str(error)

    threads = [threading.Thread(target=come, args=(index, *worker)) for index, worker in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


SAME = {"parameters": "7", "code": "8"}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_workers_meet_in_any_order_and_leave_their_addresses_free(addresses, order):
    assert meet_all(*((Place(addresses, number), SAME) for number in order)) == ["", "", ""]
    for address in addresses:
        socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))).close()


def test_workers_that_would_train_something_else_are_a_line_on_all_of_them(addresses):
    other = (Place(addresses[:2], 1), {"parameters": "9", "code": "8"})
    problem = f"worker 1 ({addresses[1]}) and worker 0 differ in parameters: give all workers the same"
    assert meet_all((Place(addresses[:2], 0), SAME), other) == [problem, problem]
    other = (Place((addresses[0], addresses[2]), 1), {"parameters": "7"})
    problem = f"worker 1 ({addresses[1]}) and worker 0 differ in KWS_TRAIN_WORKERS, code: give all workers the same"
    assert meet_all((Place(addresses[:2], 0), SAME), other) == [problem, problem]


def tell_the_chief(addresses, message: bytes) -> socket.socket:
    """A connection to the chief, which may not listen yet, with a message."""
    host, _, port = addresses[0].rpartition(":")
    while True:
        try:
            connection = socket.create_connection((host, int(port)))
        except ConnectionRefusedError:
            continue
        connection.sendall(message)
        return connection


def test_two_workers_of_one_number_are_a_line(addresses):
    ended = []
    chief = threading.Thread(target=lambda: ended.extend(meet_all((Place(addresses, 0), SAME))))
    chief.start()
    message = {
        "number": 1,
        "addresses": addresses,
        "described": SAME,
    }  # from another machine, whose address is no other
    with tell_the_chief(addresses, json.dumps(message).encode() + b"\n"):
        ended += meet_all((Place(addresses, 1), SAME))
    chief.join()
    assert ended == [f"two workers say that they are worker 1 ({addresses[1]}): give each its own KWS_TRAIN_WORKER"] * 2


def test_a_worker_that_ends_while_it_waits_may_come_back(addresses):
    ended = []
    chief = threading.Thread(target=lambda: ended.extend(meet_all((Place(addresses, 0), SAME))))
    chief.start()
    message = {"number": 1, "addresses": addresses, "described": SAME}
    tell_the_chief(addresses, json.dumps(message).encode() + b"\n").close()
    ended += meet_all((Place(addresses, 1), SAME), (Place(addresses, 2), SAME))
    chief.join()
    assert ended == ["", "", ""]


def test_a_worker_that_has_ended_while_it_waited_is_missing(addresses):
    ended = []
    chief = threading.Thread(target=lambda: ended.extend(meet_all((Place(addresses, 0), SAME), wait=2.0)))
    chief.start()
    message = {"number": 1, "addresses": addresses, "described": SAME}
    tell_the_chief(addresses, json.dumps(message).encode() + b"\n").close()
    ended += meet_all((Place(addresses, 2), SAME))
    chief.join()
    assert ended == [f"worker 1 ({addresses[1]}) did not come in 2 s: start all workers"] * 2


def test_a_worker_that_does_not_come_is_a_line(addresses):
    problem = f"worker 2 ({addresses[2]}) did not come in 1 s: start all workers"
    ended = meet_all((Place(addresses, 0), SAME), (Place(addresses, 1), SAME), wait=1.0)
    assert ended == [problem, problem]


def test_a_chief_that_does_not_come_is_a_line(addresses):
    [problem] = meet_all((Place(addresses, 1), SAME), wait=0.5)
    assert problem.startswith(f"worker 0 ({addresses[0]}) cannot be reached in 0.5 s (")
    assert problem.endswith("): start it, too")


def test_a_chief_that_ends_while_another_waits_is_a_line(addresses):
    with socket.create_server(("127.0.0.1", int(addresses[0].rpartition(":")[2]))) as chief:
        ending = threading.Thread(target=lambda: chief.accept()[0].close())  # noqa: PLW0108 (accept blocks)
        ending.start()
        told = f"worker 0 ({addresses[0]}) ended before all workers were there"
        assert meet_all((Place(addresses, 1), SAME)) == [told]
        ending.join()


def test_an_address_that_another_program_uses_or_that_is_of_another_machine_is_a_line(addresses):
    with socket.create_server(("127.0.0.1", int(addresses[1].rpartition(":")[2]))):
        [problem] = meet_all((Place(addresses, 1), SAME))
    assert problem.startswith(f"worker 1 ({addresses[1]}) cannot listen at its address (Address already in use")
    assert problem.endswith("): give one of this machine, with a port that no other program uses")
    for foreign in ("192.0.2.1:1234", "no.such.host.invalid:1234"):
        [problem] = meet_all((Place((foreign, addresses[1]), 0), SAME))
        assert problem.startswith(f"worker 0 ({foreign}) cannot listen at its address (")


def test_whoever_else_comes_to_the_chief_is_no_worker(addresses):
    ended = []
    chief = threading.Thread(target=lambda: ended.extend(meet_all((Place(addresses[:2], 0), SAME))))
    chief.start()
    for message in (b"GET / HTTP/1.1\r\n", b"[1]\n", b'{"number": 7}\n', b'{"number": "1"}\n', b""):
        tell_the_chief(addresses, message).close()
    assert meet_all((Place(addresses[:2], 1), SAME)) == [""]
    chief.join()
    assert ended == [""]


def own_network() -> list[str]:
    """What runs a command in a network of its own; empty: this machine does not allow that."""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        try:
            subprocess.run([*command, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return []


OWN_NETWORK = own_network()
needs_a_network = pytest.mark.skipif(
    not OWN_NETWORK, reason="TensorFlow listens on all addresses, and `unshare --net` is not allowed here"
)


def in_own_network(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs tests/train_workers.py in a network of its own."""
    command = [*OWN_NETWORK, sys.executable, ROOT / "tests" / "train_workers.py", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "KWS_TRACKING": "off"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)


def train_together(folder: Path, kind: str, count: int, *killed: object) -> list[dict]:
    """What became of the workers; `killed`: which one, and when."""
    done = in_own_network("workers", folder, kind, count, *killed)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def results(ended: list[dict]) -> list[dict]:
    """What workers that ended well have printed last."""
    assert [worker["code"] for worker in ended] == [0] * len(ended), ended
    return [json.loads(worker["printed"][-1]) for worker in ended]


@pytest.fixture
def folder(features, tmp_path):
    (tmp_path / "features").symlink_to(features)
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(features, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "features").symlink_to(features)
    ended = train_together(folder, "rich", 2)
    return folder, ended, results(ended)


@needs_a_network
def test_after_each_step_all_workers_have_the_same_weights(undisturbed):
    _, ended, (chief, other) = undisturbed
    assert len(chief["steps"]) == RICH.epochs * 3
    assert len({weights for weights, _ in chief["steps"]}) == RICH.epochs * 3
    assert other["steps"] == chief["steps"]
    assert other["history"] == chief["history"]
    for number, worker in enumerate(ended):
        weights = chief["steps"][-1][0][:16]
        assert worker["printed"][0] == f"worker {number} of 2 ended with the weights {weights}"


@needs_a_network
def test_only_the_chief_keeps_something(undisturbed):
    folder, _, _ = undisturbed
    assert {path.name for path in folder.iterdir()} == {"features", "checkpoint", "0.keras", "1.keras"}
    [epoch] = (folder / "checkpoint").iterdir()
    assert epoch.name == "0002"
    assert {path.name for path in epoch.iterdir()} == {"best.weights.h5", "history.json", "state.npz"}


@needs_a_network
def test_a_team_of_one_does_what_a_process_alone_does(features, folder):
    training.make_deterministic(RICH.seed, threads=2)
    alone, history = training.train_model(
        tiny(), features, SPEC, recipe=RICH, checkpoint=folder / "alone", on_epoch=lambda _: None
    )
    [team] = results(train_together(folder, "rich", 1))
    for ours, theirs in zip(team["history"], history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    together, _ = models.load_model(folder / "0.keras")
    for ours, theirs in zip(together.weights, alone.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-4)


@needs_a_network
def test_three_workers_do_what_one_machine_does_where_only_the_order_of_sums_differs(features, folder):
    training.make_deterministic(ALIKE.seed, threads=2)
    alone, history = training.train_model(
        dense(), features, SPEC, recipe=ALIKE, checkpoint=folder / "alone", on_epoch=lambda _: None
    )
    chief, *others = results(train_together(folder, "alike", 3))
    assert [other["steps"] for other in others] == [chief["steps"]] * 2
    assert [other["history"] for other in others] == [chief["history"]] * 2
    assert len(chief["history"]) == len(history) == ALIKE.epochs
    for ours, theirs in zip(chief["history"], history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    together, _ = models.load_model(folder / "0.keras")
    for ours, theirs in zip(together.weights, alone.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-4)


def train_replicas(folder: Path, kind: str, replicas: int) -> dict:
    """What became of one worker with several replicas."""
    command = [sys.executable, ROOT / "tests" / "train_workers.py", "replicas", folder, kind, str(replicas)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_one_machine_with_several_replicas_does_what_it_does_with_one(features, folder):
    """As with so many GPUs, of which there are none here."""
    training.make_deterministic(ALIKE.seed, threads=2)
    alone, history = training.train_model(
        dense(), features, SPEC, recipe=ALIKE, checkpoint=folder / "alone", on_epoch=lambda _: None
    )
    told = train_replicas(folder, "alike", 2)
    for ours, theirs in zip(told["history"], history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    together, _ = models.load_model(folder / "0.keras")
    for ours, theirs in zip(together.weights, alone.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-4)


def test_a_machine_with_several_replicas_trains_the_same_twice(features, folder):
    """With batch normalisation and dropout."""
    again = folder / "again"
    again.mkdir()
    (again / "features").symlink_to(features)
    assert train_replicas(again, "rich", 2) == train_replicas(folder, "rich", 2)


@needs_a_network
@pytest.mark.parametrize(
    ("killed", "how", "code"),
    [(0, "second epoch", -9), (1, "second epoch", -9), (1, "told to stop", -15), (1, "stands still", -9)],
)
def test_a_training_of_which_a_worker_was_lost_goes_on_when_all_start_again(undisturbed, folder, killed, how, code):
    ended = train_together(folder, "rich", 2, killed, how)
    left = 1 - killed
    assert ended[killed]["code"] == code
    assert ended[left]["code"] == 1
    said = ended[left]["errors"][-1]
    assert said.startswith(f"error: worker {killed} (127.0.0.1:{12300 + killed}) is gone (")
    assert said.endswith("): start all workers again; they go on after the last whole epoch")
    resumed = results(train_together(folder, "rich", 2))
    for ours, theirs in zip(resumed, undisturbed[2], strict=True):
        assert ours["steps"] == theirs["steps"][3:]
        assert ours["history"] == theirs["history"]
    assert resumed[0]["saved"] == undisturbed[2][0]["saved"]


@needs_a_network
def test_a_worker_that_is_killed_before_tensorflow_has_connected_it_is_a_line(folder):
    chief, killed = train_together(folder, "rich", 2, 1, "met")
    line = f"error: TensorFlow did not connect the workers in {CONNECT_SECONDS} s: start all workers again"
    assert (chief["code"], chief["errors"][-1], killed["code"]) == (-9, line, -9)


@needs_a_network
def test_more_workers_than_shards_are_a_line(folder):
    line = (
        "error: worker 3 (127.0.0.1:12303) has 0 clips of split train, fewer than the 3 steps of an epoch: use fewer "
        "workers, or a larger batch_size"
    )
    ended = train_together(folder, "rich", 4)
    assert [(worker["code"], worker["errors"][-1]) for worker in ended] == [(1, line)] * 4


@pytest.fixture
def in_project(project, monkeypatch):
    """The folder of a finished project."""
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    return project.root


def results_of_training(root: Path) -> dict[str, bytes]:
    """What stage train writes."""
    files = [*(root / "models").rglob("*"), root / "metrics" / "train.json", root / "plots" / "train" / "history.csv"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files if path.is_file()}


@needs_a_network
def test_the_stage_writes_all_that_it_writes_alone(in_project, monkeypatch):
    before = results_of_training(in_project)
    monkeypatch.setenv("KWS_TRAIN_WORKERS", "127.0.0.1:12345")
    monkeypatch.setenv("KWS_TRAIN_WORKER", "0")
    done = in_own_network("command", sys.executable, "stages/train.py")
    assert done.returncode == 0, done.stderr
    after = results_of_training(in_project)
    assert set(after) == set(before)
    told = [json.loads(results["metrics/train.json"]) for results in (before, after)]
    assert told[1].pop("workers") == 1
    assert list(told[1]) == list(told[0])
    assert told[1]["parameters"] == told[0]["parameters"]
    _, spec = models.load_model(in_project / "models" / "kws.keras")
    assert spec == FeatureSpec.read(in_project / "data" / "features" / "spec.json")


def test_the_stage_ends_with_a_line_and_changes_nothing_if_the_variables_are_wrong(in_project):
    before = results_of_training(in_project)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "KWS_TRAIN_WORKERS": "a:1,b:1",
        "KWS_TRAIN_WORKER": "2",
    }
    done = subprocess.run(
        [sys.executable, "stages/train.py"], env=environment, capture_output=True, text=True, check=False
    )
    line = "error: KWS_TRAIN_WORKER is 2: it must be 0 to 1, since KWS_TRAIN_WORKERS has 2 workers\n"
    assert (done.returncode, done.stderr) == (1, line)
    assert results_of_training(in_project) == before
