"""The process that calls MLflow for a stage. Orders come on stdin, a line of JSON each; the answer is its last act."""

import contextlib
import gc
import json
import os
import sys


def main() -> None:
    """Carries out the orders of a stage, until it has given the last one or is dead."""
    gc.disable()  # MLflow's import makes many objects that stay: looking for garbage takes a fifth of it
    from kws.tracking.recorder import Recorder

    gc.enable()
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # MLflow prints, too
    recorder = Recorder()
    for line in sys.stdin:
        order, details = json.loads(line)
        recorder.carry_out(order, details)
    recorder.carry_out("end", {"status": "KILLED"})  # does nothing if the stage has ended the run
    with contextlib.suppress(BrokenPipeError), answer:  # the stage may have died meanwhile
        json.dump(recorder.answer(), answer)
    gc.freeze()  # the stage waits for the exit, which else takes a second to free every object


if __name__ == "__main__":
    main()
