"""Shares work among threads, and returns the results in order; and says whether a cluster is to do it instead."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

CLUSTER = "KWS_CLUSTER"  # an environment variable, which src/kws/cluster explains: it changes no bytes
TASKS_AHEAD = 4  # per thread: enough to keep it busy; bounds the memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def chosen_cluster() -> str:
    """What KWS_CLUSTER says; empty: no cluster, all work is done in this process."""
    return os.environ.get(CLUSTER, "").strip()


def map_in_order(
    work: Callable[[list[Item]], Result], items: Iterable[Item], size: int, threads: int
) -> Iterator[Result]:
    """Yields the results of `work`, in the order of the items.

    Threads run at the same time where NumPy, a decoder or LiteRT works: these release Python's lock.

    Args:
        work: the function to call with a list of items, from several threads.
        items: they are read as they are needed.
        size: number of items in one call.
        threads: number of threads.
    """
    items = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        while task := list(islice(items, size)):
            waiting.append(pool.submit(work, task))
            if len(waiting) > threads * TASKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
