"""`make compare A=main B=sorer-cull`: is experiment B better than A, on the same clips?

Validation decides. The test is told beside it, with the number of experiments that were looked at.
"""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import dvc.api
from dvc.exceptions import DvcException, PathMissingError
from dvc.repo import Repo

from kws.core import paths
from kws.core.errors import UserError
from kws.core.naming import is_computed
from kws.evaluate.metrics import share_interval
from kws.evaluate.pairing import Answered, clips_differ, paired_test, read_answered, verdict
from kws.recordings.background import is_nobody
from kws.recordings.people import is_named


@dataclass(frozen=True)
class Experiment:
    """The clips of an experiment, and which of them its network gets right."""

    validation: Answered
    test: Answered


def read_experiment(revision: str) -> Experiment:
    """The answers of an experiment, branch or commit.

    Raises:
        UserError: there is no such revision, or its answers are not in DVC's cache.
    """
    if not revision:
        raise UserError("give two experiments, branches or commits: make compare A=main B=sorer-cull")
    return Experiment(_answered(revision, paths.VALIDATION), _answered(revision, paths.ANSWERS))


def _answered(revision: str, path: Path) -> Answered:
    try:
        content = dvc.api.read(path.as_posix(), rev=revision, mode="rb")
    except PathMissingError:
        raise UserError(
            f"{revision}: it has no {path}, as experiments have that this version of kws evaluated: evaluate it again "
            f"(dvc exp apply, dvc repro evaluate)"
        ) from None
    except DvcException as error:
        raise UserError(f"{revision}: {error}; an experiment's name (dvc exp show), a branch or a commit") from None
    return read_answered(io.BytesIO(content))


def compare(first: Experiment, second: Experiment, experiments: int) -> str:
    """The result as text. Clips of computed voices beside people are left out: other voices may have the same names.

    Args:
        first: A.
        second: B.
        experiments: how many there are in the workspace.

    Raises:
        UserError: as `paired_test`, of the validation clips; or one of the experiments has none of people.
    """
    left_out = {name: _computed_clips(one) for name, one in (("A", first), ("B", second))}
    first, second = (Experiment(_of_people(one.validation), _of_people(one.test)) for one in (first, second))
    beside = ""
    if any(left_out.values()):
        numbers = ", ".join(f"{name}: {number}" for name, number in left_out.items())
        beside = f"\nClips of computed voices are left out of validation and test ({numbers})."
    counted = f"{experiments} experiments are" if experiments != 1 else "1 experiment is"
    return f"""Validation, to choose by:
{_paired(first.validation, second.validation)}
B is {verdict(first.validation, second.validation)}.

Test, to report once, of the one that validation has chosen:
{_told(first.test, second.test)}
{counted} in this workspace. If you choose by the test, the figure of the best of them is too good.{beside}"""


def _of_people(answered: Answered) -> Answered:
    of_people = [not is_computed(name) for name in answered.names]
    if not any(of_people):
        raise UserError("computed voices say all validation or all test clips of A or B: nothing is known about people")
    return Answered(answered.names[of_people], answered.speakers[of_people], answered.correct[of_people])


def _computed_clips(experiment: Experiment) -> int:
    return sum(is_computed(name) for name in (*experiment.validation.names, *experiment.test.names))


def _told(first: Answered, second: Answered) -> str:
    """The test: other test clips (another test_dataset) do not stand in the way of choosing by validation."""
    if problem := clips_differ(first, second):
        return f"  A: {_accuracy(first)}; B: {_accuracy(second)}; not the same clips: {problem}"
    return _paired(first, second)


def _paired(first: Answered, second: Answered) -> str:
    test = paired_test(first, second)
    return f"""  A: {_accuracy(first)}; B: {_accuracy(second)}; {len(first.correct)} clips
  B minus A: {test} ({for_whom(first)})
  only A right: {test.only_first}, only B right: {test.only_second}; McNemar's exact test: p = {test.p_value:.2g}"""


def for_whom(answered: Answered) -> str:
    """For whom an interval of these clips holds."""
    people = sum(is_named(speaker) and not is_nobody(speaker) for speaker in set(answered.speakers))
    return f"for other people, from {people}" if people else "for other clips; who speaks is unknown"


def _accuracy(answered: Answered) -> str:
    low, high = share_interval(answered.correct, answered.speakers)
    return f"{answered.correct.mean():.2%} ({low:.1%} to {high:.1%})"


def main() -> None:
    """Compares two revisions and prints the result."""
    try:
        first, second = (read_experiment(revision) for revision in sys.argv[1:3])
        experiments = sum(map(len, Repo().experiments.ls(all_commits=True).values()))
        print(compare(first, second, experiments))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
