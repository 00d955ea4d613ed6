"""Trains a tiny network with several workers, for tests/test_workers.py.

TensorFlow's server listens on all addresses, so the tests run this in a network of its own (`unshare --net`):

    python tests/train_workers.py workers FOLDER KIND WORKERS [KILLED WHEN]

runs the workers on 127.0.0.1 until all have ended, with the features in FOLDER/features and the checkpoint in
FOLDER/checkpoint. KIND is a key of `KINDS`. Worker KILLED kills itself, in the `second epoch` or when the workers have
`met`; or it ends itself there as `told to stop`, or `stands still`. Prints what became of each worker, as JSON.

    python tests/train_workers.py command PROGRAM ...

runs a program there.

    python tests/train_workers.py replicas FOLDER KIND REPLICAS

runs one worker with several replicas, as a machine with so many GPUs has; here they are parts of the processor.
"""

import fcntl
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kws.train import workers

SIGNALS = {"second epoch": signal.SIGKILL, "told to stop": signal.SIGTERM, "stands still": signal.SIGSTOP}
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # of Linux: netdevice(7)


def turn_on_127_0_0_1() -> None:
    """In a new network it is off."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def run_workers(folder: str, kind: str, workers: int, killed: int | None = None, when: str = "") -> None:
    """Runs all workers."""
    addresses = ",".join(f"127.0.0.1:{12300 + number}" for number in range(workers))
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "worker", folder, kind, when if number == killed else ""],
            env=os.environ | {"KWS_TRAIN_WORKERS": addresses, "KWS_TRAIN_WORKER": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(workers)
    ]
    for number, process in enumerate(processes):
        if number != killed:
            process.wait()
    if killed is not None:
        processes[killed].kill()  # it may stand still
    told = []
    for process in processes:
        printed, errors = process.communicate()
        told.append({"code": process.returncode, "printed": printed.splitlines(), "errors": errors.splitlines()})
    print(json.dumps(told))


def work(folder: Path, kind: str, killed: str) -> None:
    """What one of them does. Its last line has the SHA-256 of its weights after each step, the curves and the model."""
    from kws.core.errors import UserError
    from kws.train import meeting, training, workers

    # isort: split
    import test_workers as tests

    _, recipe = tests.KINDS[kind]
    training.make_deterministic(recipe.seed, threads=1)
    place = meeting.Place.of(os.environ)
    assert place
    steps = []

    class Watched(training.WeightAverage):
        def __init__(self, model, momentum):
            super().__init__(model, momentum)
            self.trained = model

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            averaged = sha256(variable.numpy().tobytes() for variable in self.variables)
            steps.append([workers.weights_digest(self.trained), averaged])
            if killed in SIGNALS and len(steps) == 5:  # of 3 an epoch
                os.kill(os.getpid(), SIGNALS[killed])

    training.WeightAverage = Watched
    workers.CONNECT_SECONDS, workers.HEARTBEAT_SECONDS = tests.CONNECT_SECONDS, tests.HEARTBEAT_SECONDS
    try:
        meeting.meet(place, {"parameters": str(recipe)}, wait=60)
        if killed == "met":
            os.kill(os.getpid(), signal.SIGKILL)
        told = train(workers.Team(place, workers.connect(place)), folder, kind)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(json.dumps({"steps": steps, **told}))


def train(team: "workers.Team", folder: Path, kind: str) -> dict[str, object]:
    """Trains, and saves the network in FOLDER/<number of the worker>.keras."""
    from kws.train import models, workers

    # isort: split
    import test_workers as tests

    network, recipe = tests.KINDS[kind]
    rows: list[dict[str, float]] = []
    with workers.scope(team):
        model = network()
    checkpoint = folder / "checkpoint" if team.place.is_chief else None
    best, history = workers.train_model(
        team, model, folder / "features", tests.SPEC, recipe=recipe, checkpoint=checkpoint, on_epoch=rows.append
    )
    assert rows == history[-len(rows) :]
    saved = folder / f"{team.place.number}.keras"
    models.save_model(best, saved, tests.SPEC)
    return {"history": history, "saved": sha256([saved.read_bytes()])}


def train_replicas(folder: Path, kind: str, replicas: int) -> None:
    """What one worker with several replicas does. Prints the curves, as JSON."""
    import tensorflow as tf

    from kws.train import meeting, training, workers

    # isort: split
    import test_workers as tests

    [processor] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * replicas)
    training.make_deterministic(tests.KINDS[kind][1].seed, threads=1)
    devices = [f"/device:CPU:{number}" for number in range(replicas)]
    strategy = tf.distribute.MultiWorkerMirroredStrategy._from_local_devices(devices)
    team = workers.Team(meeting.Place(("127.0.0.1:1",), 0), strategy)
    assert team.replicas == replicas
    print(json.dumps(train(team, folder, kind)))


def sha256(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "worker":
        work(Path(rest[0]), *rest[1:])
    elif what == "replicas":
        train_replicas(Path(rest[0]), rest[1], int(rest[2]))
    else:
        turn_on_127_0_0_1()
        if what == "command":
            os.execvp(rest[0], rest)
        folder, kind, count, *killed = rest
        run_workers(folder, kind, int(count), *(int(killed[0]), killed[1]) if killed else ())
