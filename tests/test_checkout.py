"""How the tests run commands of users: one that hangs, and a queue whose worker DVC loses."""

import subprocess
import warnings
from pathlib import Path

import checkout
import pytest
from checkout import Project, run_queue

# A command that never ends, while another one, of a session of its own, still has something to say
HANGS = "setsid sh -c 'sleep 10; echo too late' & echo at work; sleep 600"


class Queue(Project):
    """A project whose queue hangs, if its worker has a log."""

    def __init__(self, root: Path, log: str | None) -> None:
        super().__init__(root, {})
        self.commands: list[str] = []
        if log is not None:
            worker = root / ".dvc" / "tmp" / "exps" / "celery" / "dvc-exp-worker-1.out"
            worker.parent.mkdir(parents=True)
            worker.write_text(log)
        self.hangs = log is not None

    def run(self, *command: str, **environment: str) -> str:  # noqa: ARG002 (as of Project)
        self.commands.append(" ".join(command))
        if self.hangs and "--run-all" in command:
            raise subprocess.TimeoutExpired(command, 1)
        return command[-1]


def test_a_command_that_hangs_ends_with_what_it_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "WAIT", 5)
    with pytest.raises(subprocess.TimeoutExpired) as ended:
        Project(tmp_path, {}).run("sh", "-c", HANGS)
    assert ended.value.__notes__ == ["until then it printed: at work\n"]


def test_a_queue_whose_worker_read_half_a_message_begins_anew_in_another_project(tmp_path):
    logs = iter(["Unrecoverable error: JSONDecodeError('Expecting value')", None])
    made: list[Queue] = []

    def queued(root: Path) -> Queue:
        made.append(Queue(root, next(logs)))
        return made[-1]

    with pytest.warns(UserWarning, match="DVC lost a worker of its queue; attempt 2 of 3"):
        project, printed, status = run_queue(queued, tmp_path)
    assert (project, printed, status) == (made[1], "2", "status")
    assert made[0].root != made[1].root
    assert [queue.commands[-1] for queue in made] == ["dvc queue stop --kill"] * 2


@pytest.mark.parametrize(("log", "attempts"), [("INFO: all is well", 1), ("JSONDecodeError", checkout.ATTEMPTS)])
def test_a_queue_that_hangs_for_another_reason_or_again_and_again_fails_with_the_log(tmp_path, log, attempts):
    made: list[Queue] = []

    def queued(root: Path) -> Queue:
        made.append(Queue(root, log))
        return made[-1]

    # The warning must be no error here, as it is none in the tests that run a queue: the filters stay as they are
    with warnings.catch_warnings(record=True), pytest.raises(subprocess.TimeoutExpired) as ended:
        run_queue(queued, tmp_path)
    assert ended.value.__notes__ == [f"the workers' logs: {log}"]
    assert len(made) == attempts
