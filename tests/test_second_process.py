import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from kws.core.errors import UserError
from kws.project import second_process
from kws.project.second_process import results_of


def count(to):
    print("what a library prints")
    for number in range(to):
        yield number, os.getpid()


def fail(how):
    yield "before"
    if how == "error":
        raise UserError("the user's mistake")
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def work_forever():
    yield os.getpid()
    while True:
        pass


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid, seconds=20):
    """Whether a process ends within some seconds."""
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


@pytest.fixture(autouse=True)
def _functions_can_be_imported(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests'}{os.pathsep}{ROOT / 'src'}")


def test_results_come_from_one_other_process_in_their_order():
    with results_of(count, 3) as results:
        numbers, pids = zip(*results, strict=True)
    assert numbers == (0, 1, 2)
    assert len(set(pids)) == 1
    assert os.getpid() not in pids


def test_large_arguments_and_results_pass():
    with results_of(map, bytes.upper, [b"a" * 5_000_000]) as results:
        assert list(results) == [b"A" * 5_000_000]


def test_an_error_is_raised_where_the_result_is_asked_for():
    with results_of(fail, "error") as results:
        assert next(results) == "before"
        with pytest.raises(UserError, match="the user's mistake") as raised:
            next(results)
    assert str(raised.value) == "the user's mistake"
    assert "in fail" in raised.value.__notes__[0]


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_process_that_was_ended_is_an_error_and_no_endless_wait(how):
    with results_of(fail, how) as results:
        next(results)
        with pytest.raises(UserError, match=r"^the process beside this one was killed before its work was done: "):
            next(results)


def test_a_process_that_was_killed_before_it_took_its_arguments_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with results_of(map, bytes.upper, [b"a" * 5_000_000]) as results, pytest.raises(UserError, match="was killed"):
        next(results)


def test_a_process_that_was_killed_in_the_middle_of_a_result_is_an_error():
    half = io.BytesIO(pickle.dumps(("result", b"a" * 5_000_000))[:1000])
    with pytest.raises(UserError, match="was killed"):
        next(second_process._received(half))


def test_warnings_are_treated_as_in_this_process(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with results_of(eval, "[__import__('sys').warnoptions]") as results:
        assert next(results) == ["error"]


def test_an_error_in_the_block_ends_the_process():
    pid = None
    with pytest.raises(OSError, match="full"), results_of(work_forever) as results:  # noqa: PT012
        pid = next(results)
        raise OSError("full")
    assert not is_alive(pid)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_when_the_first_one_is_interrupted_or_killed(sent):
    code = """if True:
        from test_second_process import results_of, work_forever
        with results_of(work_forever) as results:
            print(next(results), flush=True)
            next(results)
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        second = int(first.stdout.readline())
        os.killpg(first.pid, sent)
        assert first.wait(20) == -sent
        assert ends(second)
        error = first.stderr.read()
    assert error.rstrip().endswith("KeyboardInterrupt" if sent == signal.SIGINT else "")
    assert error.count("Traceback") == (sent == signal.SIGINT)  # the second process prints none
