"""The process that calls MLflow for a stage. Orders come on stdin, one line of JSON each. It answers at its end."""

import contextlib
import gc
import json
import os
import sys
from queue import SimpleQueue
from threading import Thread


def main() -> None:
    """Carries out the orders of a stage until the stage closes its end, or dies."""
    gc.disable()  # importing MLflow creates many lasting objects: garbage collection would take a fifth of the time
    from kws.tracking.recorder import Recorder

    gc.enable()
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # MLflow prints, too
    recorder = Recorder()
    orders: SimpleQueue[str] = SimpleQueue()
    Thread(target=take, args=[orders], daemon=True).start()
    while line := orders.get():
        order, details = json.loads(line)
        recorder.carry_out(order, details)
    recorder.carry_out("end", {"status": "KILLED"})  # does nothing if the stage has ended the run
    with contextlib.suppress(BrokenPipeError), answer:  # the stage may be dead by now
        json.dump(recorder.answer(), answer)
    gc.freeze()  # the stage waits for the exit, in which freeing every object would take a second


def take(orders: "SimpleQueue[str]") -> None:
    """Takes orders as they come, the empty text at their end: while a server is slow, no pipe is full."""
    for line in sys.stdin:
        orders.put(line)
    orders.put("")


if __name__ == "__main__":
    main()
