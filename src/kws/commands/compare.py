"""`make compare A=main B=sorer-cull`: is experiment B better than A, on the same test clips?"""

import io
import sys

import dvc.api
from dvc.exceptions import DvcException

from kws.core import paths
from kws.core.errors import UserError
from kws.evaluate.pairing import Answered, paired_test, read_answered


def answers_of(revision: str) -> Answered:
    """The answers to the test clips in an experiment, branch or commit.

    Raises:
        UserError: there is no such revision, or its answers are not in DVC's cache.
    """
    if not revision:
        raise UserError("give two experiments, branches or commits: make compare A=main B=sorer-cull")
    try:
        content = dvc.api.read(paths.ANSWERS.as_posix(), rev=revision, mode="rb")
    except DvcException as error:
        raise UserError(f"{revision}: {error}; an experiment's name (dvc exp show), a branch or a commit") from None
    return read_answered(io.BytesIO(content))


def compare(first: Answered, second: Answered) -> str:
    """The result of the paired test as text; errors as in `paired_test`."""
    test = paired_test(first, second)
    verdict = "not known to differ"
    if test.better:
        verdict = "better"
    elif paired_test(second, first).better:
        verdict = "worse"
    speakers = len(set(first.speakers))
    return f"""A: {first.correct.mean():.2%}, B: {second.correct.mean():.2%} of {len(first.correct)} test clips
B minus A: {test} (bootstrap over {speakers} speakers)
only A right: {test.only_first}, only B right: {test.only_second}; McNemar's exact test: p = {test.p_value:.2g}
B is {verdict}."""


def main() -> None:
    """Compares two revisions and prints the result."""
    try:
        first, second = (answers_of(revision) for revision in sys.argv[1:3])
        print(compare(first, second))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
