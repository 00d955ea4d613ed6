"""`make clean-runs`: what DVC's cache, its queue and MLflow hold that no branch, tag or champion needs.

It is shown. `make clean-runs YES=1` removes it. Needed are the tips of all branches, also of remotes, tags, all other
refs of git, stashes, the workspace, queued experiments, and every registered model with an alias.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.repo.experiments.refs import EXPS_NAMESPACE, ExpRefInfo
from dvc.repo.experiments.utils import exp_refs
from dvc_data.hashfile.gc import gc as remove_unused
from dvc_data.hashfile.hash_info import HashInfo
from filelock import FileLock

from kws.commands.switches import is_on
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import sha256_of
from kws.core.naming import first_names
from kws.tracking import clean
from kws.tracking.refusal import ADDRESS
from kws.tracking.serve import point_store
from kws.tracking.store import DATABASE, LOCK

STAGES = ("train", "evaluate")  # by whose figures a run of MLflow is found
_PLAIN = re.compile(r"[\w .-]+")  # names that MLflow takes as they are
_WORK = re.compile(r"((^|/)(dvc(/__main__\.py)?|stages/\w+\.py)|kws\.commands\.\w+)$")  # a word of a command line


@dataclass(frozen=True)
class Store:
    """Where MLflow keeps its runs.

    Attributes:
        address: as MLFLOW_TRACKING_URI has it.
        own: whether it is the project's. A server may hold the runs of other people.
    """

    address: str
    own: bool


@dataclass(frozen=True)
class Needed:
    """What must stay.

    Attributes:
        commits: of branches, tags, stashes, champions, kept and queued experiments.
        champions: the registered models with an alias.
        experiments: of DVC that stay, since a champion is theirs; all, if there are other checkouts.
        queued: how many experiments wait in the queue, or are taken to run.
        checkouts: folders of the project in other worktrees of the repository. Git shares the experiments of all.
    """

    commits: Sequence[str]
    champions: Sequence[clean.Champion]
    experiments: Sequence[ExpRefInfo]
    queued: int
    checkouts: Sequence[Path]


@dataclass(frozen=True)
class Garbage:
    """What nothing needs.

    Attributes:
        experiments: of DVC.
        finished: how many experiments of the queue have ended, well or not.
        files: in DVC's cache, and their bytes; None if others may use the cache.
        cache_files: all of the cache, likewise.
        runs: of MLflow; None if there is no store, or it is not the project's.
    """

    experiments: Sequence[ExpRefInfo]
    finished: int
    files: tuple[int, int] | None
    cache_files: tuple[int, int]
    runs: clean.Unneeded | None


def find_store(root: Path) -> Store | None:
    """The store that the stages record in; None if there is none yet."""
    own = f"sqlite:///{root / DATABASE}"
    address = os.environ.get(ADDRESS, own)
    if address == own and not (root / DATABASE).exists():
        return None
    return Store(address, own=address == own)


def find_running(root: Path) -> list[str]:
    """Commands of DVC, of stages and of make that work in the project, or in a copy of it for an experiment.

    Their arguments are left out: they may hold passwords.
    """
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        folder, words = process.info["cwd"], process.info["cmdline"]
        if folder and words and Path(folder).is_relative_to(root) and Path(words[0]).name.startswith("python"):
            works = [Path(word).name for word in words[:3] if _WORK.search(word)]
            found += [f"{name} (process {process.pid})" for name in works if process.pid != os.getpid()]
    return found


def find_needed(repo: Repo, store: Store | None) -> Needed:
    """What must stay; errors as `kws.tracking.clean.champions`."""
    champions = clean.champions(store.address) if store else []
    checkouts = _other_checkouts()
    kept = [info for info in exp_refs(repo.scm) if checkouts or _is_champions(repo, info, champions)]
    queue = repo.experiments.celery_queue
    waiting = [*queue.iter_queued(), *queue.iter_active()]
    commits = [*_refs(), *_commits_of(repo, champions), *(str(repo.scm.get_ref(str(info))) for info in kept)]
    commits += [commit for entry in waiting for commit in (entry.stash_rev, entry.baseline_rev)]
    for commit, entry in repo.experiments.stash_revs.items():
        commits += [commit, entry.baseline_rev]
    return Needed(list(dict.fromkeys(commits)), champions, kept, len(waiting), checkouts)


def _refs() -> Iterator[str]:
    """The commits of all refs of git but DVC's experiments, of stashes, and those that are checked out anywhere."""
    for line in _git("for-each-ref", "--format=%(refname)").splitlines():
        if not line.startswith(f"{EXPS_NAMESPACE}/") and (commit := _commit(line)):
            yield commit
    for line in _git("worktree", "list", "--porcelain").splitlines():
        if line.startswith("HEAD ") and (commit := _commit(line.removeprefix("HEAD "))):
            yield commit
    yield from _git("stash", "list", "--format=%H").splitlines()  # the ref is of the newest one


def _commits_of(repo: Repo, champions: Sequence[clean.Champion]) -> Iterator[str]:
    """The commits, also old ones of a branch, whose network is a champion's."""
    networks = {champion.model for champion in champions if champion.model}
    if networks:
        changes = ["--full-history", f"--exclude={EXPS_NAMESPACE}/*", "--all", "--format=%H", "--", "dvc.lock"]
        for commit in _git("log", *changes).splitlines():
            if _network(repo, commit) in networks:
                yield commit


def _other_checkouts() -> list[Path]:
    """Where other worktrees of the repository have the project."""
    here, inside = _git("rev-parse", "--show-toplevel", "--show-prefix").split("\n")[:2]
    lines = _git("worktree", "list", "--porcelain").splitlines()
    tops = [line.removeprefix("worktree ") for line in lines if line.startswith("worktree ")]
    return [Path(top, inside) for top in tops if top != here and Path(top, inside, ".dvc").is_dir()]


def _commit(name: str) -> str:
    """The commit that a ref stands for; empty if it is none."""
    command = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 (ours)


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 (ours)


def _is_champions(repo: Repo, info: ExpRefInfo, champions: Sequence[clean.Champion]) -> bool:
    """Whether a champion came from an experiment: by its name, or by the network, if it was renamed."""
    if info.name in {champion.experiment for champion in champions}:
        return True
    network = _network(repo, str(info))
    return network is not None and network in {champion.model for champion in champions}


def _network(repo: Repo, revision: str) -> str | None:
    """SHA-256 of the Keras file of a revision; None if DVC's cache does not have it."""
    lock = yaml.safe_load(_show(f"{revision}:./dvc.lock") or "") or {"stages": {}}
    for output in lock["stages"].get("train", {}).get("outs", []):
        if output["path"] == paths.MODEL.as_posix() and "md5" in output:
            file = Path(repo.cache.local.oid_to_path(output["md5"]))
            return sha256_of(file) if file.exists() else None
    return None


def _show(name: str) -> str | None:
    """A file of a commit; None if it has none of that name."""
    done = subprocess.run(["git", "show", name], capture_output=True, text=True, check=False)  # noqa: S603, S607 (ours)
    return None if done.returncode else done.stdout


def find_figures(commits: Sequence[str]) -> list[dict[str, float]]:
    """The figures of each commit and of the workspace, by the names that they have in MLflow."""
    files = [paths.METRICS / f"{stage}.json" for stage in STAGES]
    workspace = [file.read_text(encoding="utf-8") if file.exists() else None for file in files]
    versions = [workspace, *([_show(f"{commit}:./{file.as_posix()}") for file in files] for commit in commits)]
    return [_figures(contents) for contents in versions]


def _figures(contents: Sequence[str | None]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for stage, content in zip(STAGES, contents, strict=True):
        prefix = "" if stage == "evaluate" else f"{stage}/"
        told: Mapping[str, Any] = json.loads(content or "{}")
        figures |= {
            prefix + name: value
            for name, value in told.items()
            if not isinstance(value, str) and _PLAIN.fullmatch(name)
        }
    return figures


def find_garbage(repo: Repo, root: Path, needed: Needed, store: Store | None) -> Garbage:
    """What nothing needs."""
    kept = set(needed.experiments)
    queue = repo.experiments.celery_queue
    shared = _is_shared(repo, root, needed.checkouts)
    used = {one.value for one in _used(repo, needed)}
    sizes = [(size, name in used) for name, size in _cache_files(repo)]
    runs = None
    if store and store.own:
        runs = clean.find_unneeded(store.address, needed.champions, find_figures(needed.commits))
    return Garbage(
        experiments=[info for info in exp_refs(repo.scm) if info not in kept],
        finished=len([*queue.iter_success(), *queue.iter_failed()]),
        files=None if shared else _count([size for size, is_used in sizes if not is_used]),
        cache_files=_count([size for size, _ in sizes]),
        runs=runs,
    )


def _is_shared(repo: Repo, root: Path, checkouts: Sequence[Path]) -> bool:
    """Whether others may use the cache: it is outside of the project, for a group, or that of another checkout."""
    cache = Path(repo.cache.local.path).resolve()
    if repo.config["cache"].get("shared") or not cache.is_relative_to(root):
        return True
    theirs = [Config(str(checkout / ".dvc"))["cache"].get("dir") for checkout in checkouts]
    return any(cache.is_relative_to(Path(folder).resolve()) for folder in theirs if folder)


def _used(repo: Repo, needed: Needed) -> set[HashInfo]:
    """What the workspace and the commits have in DVC's cache.

    It is what `dvc gc` finds, which takes one commit beside branches and tags; queued experiments are more. Beside it
    are the outputs that stand in git: DVC keeps them in its cache, too, and runs a stage again where they are missing.
    """
    try:
        found = repo.used_objs(revs=list(needed.commits), force=True)
    except DvcException as error:
        raise UserError(f"DVC cannot read what a branch or tag needs, so nothing is removed: {error}") from None
    locks = [Path("dvc.lock").read_text(encoding="utf-8") if Path("dvc.lock").exists() else ""]
    locks += [_show(f"{commit}:./dvc.lock") or "" for commit in needed.commits]
    return {one for objects in found.values() for one in objects} | {
        HashInfo("md5", output["md5"])
        for lock in locks
        for stage in (yaml.safe_load(lock) or {}).get("stages", {}).values()
        for output in stage.get("outs", [])
        if "md5" in output
    }


def _caches(repo: Repo) -> list[Any]:
    return list({id(cache): cache for _, cache in repo.cache.by_scheme() if cache}.values())


def _cache_files(repo: Repo) -> Iterator[tuple[str, int]]:
    for cache in _caches(repo):
        for name in cache.all():
            yield name, Path(cache.oid_to_path(name)).stat().st_size


def _count(sizes: Sequence[int]) -> tuple[int, int]:
    return len(sizes), sum(sizes)


def remove(repo: Repo, root: Path, needed: Needed, garbage: Garbage, store: Store | None) -> None:
    """Removes the garbage: first what names files, then the files."""
    if garbage.finished:
        repo.experiments.celery_queue.clear(success=True, failed=True)
    if garbage.experiments:
        repo.experiments.remove([str(info) for info in garbage.experiments])
    if garbage.files:
        used = _used(repo, needed)
        for cache in _caches(repo):
            remove_unused(cache, used)
    if store and garbage.runs:
        with FileLock(root / LOCK):
            clean.remove(store.address, garbage.runs)


def told(needed: Needed, garbage: Garbage, store: Store | None, cache: str) -> str:
    """What is kept and what goes, in lines."""
    names = first_names(info.name for info in garbage.experiments)
    names = f" ({names})" if names else ""
    stay = f"{len(needed.experiments)} of a champion stay"
    if needed.checkouts:
        stay = f"{len(needed.experiments)} stay, since the checkout in {needed.checkouts[0]} shares them"
    lines = [
        f"DVC's experiments: {len(garbage.experiments)}{names}; {stay}",
        f"DVC's queue: {garbage.finished} that have ended; {needed.queued} that wait or run stay",
    ]
    number, size = garbage.cache_files
    if garbage.files is None:
        lines.append(f"DVC's cache: nothing, since others may use {cache}; dvc gc --projects asks them, too")
    else:
        lines.append(
            f"DVC's cache: {garbage.files[0]:,} of {number:,} files, {_bytes(garbage.files[1])} of {_bytes(size)}"
        )
    if garbage.runs:
        runs = garbage.runs
        lines.append(
            f"MLflow: {len(runs.runs)} of {len(runs.runs) + runs.kept} runs, {len(runs.versions)} registered versions, "
            f"{runs.trash} that were deleted before; {_bytes(runs.bytes)}"
        )
    else:
        where = f"since other people may use {clean.without_password(store.address)}" if store else "there is no store"
        lines.append(f"MLflow: nothing, {where}")
    champions = ", ".join(champion.title for champion in needed.champions) or "no champion"
    kept = f"{len(needed.commits)} commits of branches, tags, stashes and the queue"
    lines.append(f"Kept: {kept}, the workspace, {champions}.")
    return "\n".join(lines)


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def clean_runs(repo: Repo, root: Path, *, yes: bool) -> None:
    """Shows what may go, and removes it.

    Args:
        repo: locked, so that no stage of DVC begins meanwhile.
        root: the project's.
        yes: whether it is to be removed.

    Raises:
        UserError: something runs here, so that what it needs is not known; or what is needed cannot be read.
    """
    if yes and (running := find_running(root)):
        raise UserError(f"{running[0]} works here: nothing is removed before it has ended")
    point_store(root)
    store = find_store(root)
    needed = find_needed(repo, store)
    garbage = find_garbage(repo, root, needed, store)
    print(told(needed, garbage, store, repo.cache.local.path))
    if yes:
        remove(repo, root, needed, garbage, store)
        print("All of this was removed.")
    else:
        print("Nothing was removed: make clean-runs YES=1 does it.")


def main() -> None:
    """Shows what may go, and removes it if the environment has YES=1."""
    try:
        repo = Repo()
        with lock_repo(repo):
            clean_runs(repo, paths.project_root(), yes=is_on("YES"))
    except (UserError, DvcException) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
