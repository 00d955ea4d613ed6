"""`make pull`: what colleagues pushed, and its runs in MLflow. No stage runs.

`dvc pull` brings the outputs of this commit, `dvc exp pull` all experiments of git's remote `origin`. Damaged outputs
are refused. Then the runs of both are made from the files, if they are not in MLflow's store yet.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from kws.core import intact, paths
from kws.core.errors import UserError
from kws.tracking.from_files import FILES, record
from kws.tracking.refusal import RefusedRunError

ORIGIN = "origin"  # git's remote that a clone has


def experiments(repo: Repo) -> Iterator[tuple[str, str, str]]:
    """Name, baseline and commit of each experiment, the oldest first: their models are registered in this order."""
    found = [
        (name, baseline, commit)
        for baseline, ones in repo.experiments.ls(all_commits=True).items()
        for name, commit in ones
    ]
    yield from sorted(found, key=lambda one: repo.scm.resolve_commit(one[2]).commit_time)


def copy_files(repo: Repo, commit: str, folder: Path) -> None:
    """Copies what a run is made of from git and DVC's cache, or from DVC's remote, into a folder.

    Raises:
        UserError: it is in none of them, or a file is not what the experiment wrote.
    """
    with repo.switch(commit):
        for path in map(Path.as_posix, FILES):
            target = folder / path
            try:
                repo.dvcfs.get(path, str(target), recursive=True)
                md5 = repo.dvcfs.info(path).get("md5")
            except (DvcException, OSError) as error:
                raise UserError(f"{path} cannot be had: {error}") from error
            if md5 and target.is_file() and intact.md5_of(target) != md5:
                raise UserError(f"{path} is damaged, in DVC's cache or on the remote: make verify tells of the cache")


def record_all() -> None:
    """Makes the runs of the workspace and of all experiments, and prints what became of them.

    Raises:
        RefusedRunError: MLflow refused runs; the others are logged.
        UserError: MLflow's store cannot be used.
    """
    results: dict[str, str] = {}
    refused = 0

    def make(title: str, folder: Path, name: str = "", baseline: str = "") -> None:
        nonlocal refused
        try:
            results[title] = record(folder, name, baseline)
        except RefusedRunError as problem:
            results[title] = str(problem)
            refused += 1

    make("this workspace", paths.project_root())
    with Repo() as repo:
        for name, baseline, commit in experiments(repo):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    copy_files(repo, commit, Path(folder))
                except UserError as problem:
                    results[name] = str(problem)
                else:
                    make(name, Path(folder), name, baseline)
    logged, there = ([name for name, result in results.items() if result == told] for told in ("logged", "there"))
    print(f"MLflow: {len(logged)} runs made from files ({', '.join(logged) or 'none'}); {len(there)} were there")
    for name, result in results.items():
        if result not in ("logged", "there"):
            print(f"left out: {name}: {result}")
    if refused:
        raise RefusedRunError(f"MLflow refused {refused} of {len(results)} runs: see above")


def main() -> None:
    """Pulls, then makes the runs. Ends with the exit code of a command that failed; DVC has said why."""
    remotes = subprocess.run(["git", "remote"], capture_output=True, text=True, check=True).stdout.split()  # noqa: S607
    commands = [["dvc", "pull"]]
    if ORIGIN in remotes:
        commands.append(["dvc", "exp", "pull", "--all-commits", ORIGIN])
    for command in commands:
        if code := subprocess.run(command, check=False).returncode:  # noqa: S603 (ours)
            sys.exit(code)
    if damaged := intact.mend():
        sys.exit(f'error: the remote has damaged files (docs/remotes.md, "A full disk"): {"; ".join(damaged)}')
    try:
        record_all()
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
