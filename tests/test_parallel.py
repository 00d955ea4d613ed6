import threading

import pytest

from kws.core import parallel
from kws.core.parallel import map_in_order


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_results_come_in_the_order_of_the_items(threads, size):
    results = list(map_in_order(lambda numbers: [2 * number for number in numbers], range(10), size, threads))
    assert [number for result in results for number in result] == list(range(0, 20, 2))
    assert len(results) == -(-10 // size)


def test_no_item_no_result():
    assert list(map_in_order(len, [], 2, 2)) == []


def test_threads_work_at_the_same_time():
    both = threading.Barrier(2, timeout=60)
    assert list(map_in_order(lambda _: both.wait() >= 0, range(2), 1, 2)) == [True, True]


def test_no_more_is_read_than_the_threads_need_soon():
    read = []
    results = map_in_order(len, (read.append(number) or number for number in range(1000)), 1, 2)
    next(results)
    assert len(read) == 2 * parallel.TASKS_AHEAD + 1


def test_an_error_in_a_thread_is_an_error_of_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(lambda numbers: 1 // numbers[0], range(2), 1, 2))
