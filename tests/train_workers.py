"""Trains a tiny network with several workers, for tests/test_workers.py.

TensorFlow's server listens on all addresses, so the tests run this in a network of its own:

    unshare --net python tests/train_workers.py run FOLDER WORKERS [KILLED]

runs the workers on 127.0.0.1 until all have ended, with the features in FOLDER/features and the checkpoint in
FOLDER/checkpoint. Worker KILLED kills itself in the second epoch. Prints what became of each worker, as JSON.
"""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # of Linux: netdevice(7)


def run(folder: Path, workers: int, killed: int | None) -> None:
    """Runs all workers."""
    with socket.socket() as any_socket:  # a new network has 127.0.0.1 turned off
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    addresses = ",".join(f"127.0.0.1:{12300 + number}" for number in range(workers))
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "work", folder, *([] if number != killed else ["killed"])],
            env=os.environ | {"KWS_TRAIN_WORKERS": addresses, "KWS_TRAIN_WORKER": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(workers)
    ]
    told = []
    for process in processes:
        printed, errors = process.communicate()
        told.append({"code": process.returncode, "printed": printed.splitlines(), "errors": errors.splitlines()})
    print(json.dumps(told))


def work(folder: Path, *, killed: bool) -> None:
    """What one of them does. Its last line has the SHA-256 of its weights after each step, the curves and the files."""
    import test_training as tests

    from kws.core.errors import UserError
    from kws.train import meeting, models, training, workers

    training.make_deterministic(tests.RICH.seed, threads=1)
    place = meeting.Place.of(os.environ)
    assert place
    steps = []

    class Watched(training.WeightAverage):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            average = [variable.numpy().tobytes().hex() for variable in self.variables]
            steps.append([workers.weights_digest(self.model_), hash_of(average)])
            if killed and len(steps) == 5:  # of 3 an epoch
                os.kill(os.getpid(), signal.SIGKILL)

        def __init__(self, model, momentum):
            super().__init__(model, momentum)
            self.model_ = model

    training.WeightAverage = Watched
    rows = []
    try:
        meeting.meet(place, {"parameters": str(tests.RICH)}, wait=60)
        team = workers.Team(place, workers.connect(place))
        with workers.scope(team):
            model = tests.tiny()
        best, history = workers.train_model(
            team,
            model,
            folder / "features",
            tests.SPEC,
            recipe=tests.RICH,
            checkpoint=folder / "checkpoint" if place.is_chief else None,
            on_epoch=rows.append,
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    assert rows == history[-len(rows) :]
    saved = folder / f"{place.number}.keras"
    models.save_model(best, saved, tests.SPEC)
    print(json.dumps({"steps": steps, "history": history, "saved": hash_of([saved.read_bytes().hex()])}))


def hash_of(texts: list[str]) -> str:
    """SHA-256 of some texts."""
    import hashlib

    return hashlib.sha256("".join(texts).encode()).hexdigest()


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "run":
        run(Path(where), int(rest[0]), int(rest[1]) if rest[1:] else None)
    else:
        work(Path(where), killed=bool(rest))
