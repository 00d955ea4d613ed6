"""Has the workers of a Dask cluster do tasks. The environment variable KWS_CLUSTER says which cluster.

| KWS_CLUSTER | the workers |
| --- | --- |
| unset, or empty | none: the stage works in its own process |
| `local`, `local:4` | processes of this machine, one a core, or four; they end with the stage |
| `tcp://host:8786` | those that know this scheduler |
| a path | those that know the scheduler of this file (`dask scheduler --scheduler-file`) |

A task that a worker takes to its grave is done again by another one; so is one that fails, a few times.
"""

import itertools
import logging
import os
import pkgutil
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kws.core.errors import UserError
from kws.core.parallel import CLUSTER

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 30  # for an answer of the scheduler
FIRST_WORKER_SECONDS = 120  # queues of clusters may take longer: start the workers before
NO_WORKER_SECONDS = 900  # in the middle of the work: a cluster may start others
RETRIES = 2  # of a task that raises an error: a disk may be full or away for a while
TASKS_AHEAD = 2  # a thread: one to work on, one that waits
# Otherwise the scheduler keeps its last 1,000 messages to each worker, and the client those to the scheduler. They hold
# tasks: 0.8 MB a shard. A scheduler that runs already has its own setting (docs/cluster.md)
NO_LOG = {"distributed.admin.low-level-log-length": 0}

_GONE = UserError(f"{CLUSTER}: the scheduler is gone, and what was not finished with it: start one, then run it again")

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def connected(where: str) -> Iterator["Client"]:
    """Yields a client of the cluster that has a worker at least.

    Args:
        where: as KWS_CLUSTER has it, not empty.

    Raises:
        UserError: there is no such cluster, or no worker comes.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise UserError(f"{CLUSTER}: {where} needs Dask: make setup WITH=cluster, or unset {CLUSTER}") from None
    dask.config.set(NO_LOG)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a line is said here, where a log has pages
    kind, _, number = where.partition(":")
    if kind == "local":
        if number and not (number.isdecimal() and int(number)):
            raise UserError(f"{CLUSTER}: {where} is refused: local, or local:N with N processes from 1")
        workers = int(number or os.cpu_count() or 1)
        settings = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
        try:
            cluster = LocalCluster(n_workers=workers, **settings)
        except RuntimeError as error:
            raise UserError(
                f"{CLUSTER}: {where}: the workers did not start ({error}): was one killed, for want of memory?"
            ) from None
        with cluster, Client(cluster) as client:
            yield client
        return
    if "://" not in where and not Path(where).is_file():
        raise UserError(
            f"{CLUSTER}: {where} is refused: neither local, nor local:N, nor the address of a scheduler "
            "(tcp://host:8786), nor the file of one that runs"
        )
    given = {"address": where} if "://" in where else {"scheduler_file": where}
    try:
        client = Client(**given, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # OSError: also a TimeoutError
        raise UserError(f"{CLUSTER}: no scheduler answers at {where} ({error}): start one, or unset it") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
        except TimeoutError:
            raise UserError(
                f"{CLUSTER}: no worker has come to {where} in {FIRST_WORKER_SECONDS} s: start some, then run it again"
            ) from None
        yield client


def results_of(
    client: "Client", work: Callable[[Task], Result], tasks: Iterable[Task], name_of: Callable[[Task], str]
) -> Iterator[Result]:
    """Yields what the workers return, in the order in which they finish.

    Args:
        client: of the cluster.
        work: the function that a worker calls with a task; both are sent to it.
        tasks: read as they are needed.
        name_of: a name for a task, for the line on one that fails.

    Raises:
        UserError: a worker cannot import the function, a task fails for good, or all workers are gone.
        OSError: a disk is full.
    """
    _check_imports(client, f"{work.__module__}:{work.__qualname__}")
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    names: dict[Any, str] = {}
    tasks = iter(tasks)
    while True:
        wanted = max(1, _threads(client) * TASKS_AHEAD) - len(names)  # workers come and go
        for task in itertools.islice(tasks, max(0, wanted)):
            future = client.submit(work, task, pure=False, retries=RETRIES)
            names[future] = name_of(task)
            future.add_done_callback(done.put)
        if not names:
            return
        for future in _finished(done, client):
            yield _result(future, names.pop(future))


def _check_imports(client: "Client", function: str) -> None:
    """Asks every worker that is there for a function: one that lacks it would end without a word to the scheduler.

    Args:
        client: of the cluster.
        function: as `module:name`.
    """
    try:
        answers = client.run(pkgutil.resolve_name, f"{function}.__name__", on_error="return")
    except OSError:
        raise _GONE from None
    unreadable = (ImportError, AttributeError, SyntaxError)
    lacking = {worker: answer for worker, answer in answers.items() if isinstance(answer, unreadable)}
    if lacking:
        worker, answer = min(lacking.items())
        error = " ".join(str(answer).split())
        raise UserError(
            f"{CLUSTER}: {len(lacking)} of {len(answers)} workers cannot import kws as it is here "
            f"({worker}: {error}): give them the same environment"
        )


def _threads(client: "Client") -> int:
    """How many tasks the workers can do at once."""
    try:
        return sum(client.nthreads().values())
    except OSError:
        raise _GONE from None


def _finished(done: queue.SimpleQueue[Any], client: "Client") -> list[Any]:
    """The futures that have come to an end; waits for one at least."""
    seen = time.monotonic()
    while True:
        try:
            finished = [done.get(timeout=5)]
        except queue.Empty:
            if _threads(client):
                seen = time.monotonic()
            elif time.monotonic() - seen > NO_WORKER_SECONDS:
                raise UserError(
                    f"{CLUSTER}: no worker has been there for {NO_WORKER_SECONDS} s: their logs may say why; start "
                    "some, then run it again"
                ) from None
            continue
        while not done.empty():
            finished.append(done.get())
        return finished


def _result(future: Any, name: str) -> Any:
    from distributed import KilledWorker

    if future.cancelled():
        raise _GONE
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        raise UserError(
            f"{CLUSTER}: {name} failed for good: {error.allowed_failures + 1} workers have died of it, the last one at "
            f"{error.last_worker.address}; its log may say why (too little memory?)"
        )
    if isinstance(error, UserError | OSError):
        raise error
    line = " ".join(f"{type(error).__name__}: {error}".split())
    raise UserError(f"{CLUSTER}: {name} failed for good, {RETRIES + 1} times: {line}") from error
