"""`make report BASE=main`: what a change does to the recogniser, in Markdown and pictures, for a pull request.

A is the commit that the change began with, B is the workspace. Validation decides: by it the gate stops a change, and
of its clips are the pictures and the mistakes. The test is reported beside it.
"""

import io
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import resolve_rev
from dvc_data.index import DataIndexError

from kws.commands.compare import for_whom
from kws.commands.switches import is_on
from kws.core import paths
from kws.core.address import public_address
from kws.core.errors import UserError
from kws.core.files import folder_written_whole
from kws.core.naming import SILENCE, UNKNOWN
from kws.evaluate.answers import Answers, read_answers
from kws.evaluate.metrics import Difference, confusion_matrix, share_interval
from kws.evaluate.pairing import UNDECIDED, WORSE, answered, clips_differ, paired_test, sorted_by_name, verdict
from kws.plots.figures import accuracies_figure, confusions_figure, save_figure
from kws.project.card import COST
from kws.spotting.litert import KINDS
from kws.tracking.run import STAGES

FOLDER = paths.PLOTS / "report"
TEMPLATE = Path(__file__).with_name("report.md.jinja")
WORST = 20  # new mistakes to list
LONGEST = 200  # characters of a value or a name: a list of words may be long
ROWS = 100  # of a table: GitHub takes a comment of 65,536 characters
FIGURES = {  # of the test, in metrics/evaluate.json, each with its interval
    "noise_0db_accuracy": "accuracy in noise, 0 dB",
    f"recall_{UNKNOWN}": "recall of other words",
    f"recall_{SILENCE}": "recall of silence",
    "unheard_rejected": "words never heard that are rejected",
    "stream_missed": "missed words in the stream",
    "stream_false_alarms_an_hour": "false alarms an hour in the stream",
}


@dataclass(frozen=True)
class Version:
    """What a commit, or the workspace, has of the figures that people compare.

    Attributes:
        validation: answers to the validation clips of people, in the order of their names.
        test: likewise.
        classes: their names, in the order of the probabilities.
        computed: how many clips of computed voices beside people are left out.
        synthetic: whether a computer speaks the validation clips.
        evaluated: content of metrics/evaluate.json.
        exported: content of metrics/export.json; empty if there is none.
        recordings: what tells recordings apart: the hash of data/raw in dvc.lock, and the SHA-256 of their archive.
    """

    validation: Answers
    test: Answers
    classes: list[str]
    computed: int = 0
    synthetic: bool = False
    evaluated: Mapping[str, float] = field(default_factory=dict)
    exported: Mapping[str, float] = field(default_factory=dict)
    recordings: tuple[str | None, str | None] = (None, None)

    def has_recordings_of(self, other: "Version") -> bool:
        """Whether both have the same recordings, as far as is known: clips of one name may sound otherwise."""
        pairs = zip(self.recordings, other.recordings, strict=True)
        return any(mine is not None and mine == theirs for mine, theirs in pairs)


def read_version(revision: str | None) -> Version:
    """What a commit has, from git, DVC's cache or its remote. The remote is the one that the workspace names.

    Args:
        revision: a branch, tag, commit or experiment; None: the workspace.

    Raises:
        UserError: there is no such commit, or its answers are in none of these places.
    """
    if revision == "":
        raise UserError("give the branch, tag or commit that the change began with: make report BASE=main")
    name = revision or "the workspace"
    try:
        files = DVCFileSystem(rev=revision, config=dict(Repo().config))
        files.repo  # noqa: B018 (it is opened here)
    except DvcException as error:
        raise UserError(f"{name}: {error}; give a branch, a tag or a commit: make report BASE=main") from None

    def read(path: Path, *, needed: bool = True) -> bytes | None:
        try:
            return bytes(files.read_bytes(path.as_posix()))
        except (OSError, DvcException, DataIndexError) as error:
            if not needed:
                return None
            raise UserError(
                f"{name}: {path} is neither in git, nor in DVC's cache, nor in its remote ({error}): dvc pull fetches "
                "what was pushed, dvc repro makes it"
            ) from None

    def figures(name: str) -> dict[str, float]:
        return dict(json.loads(read(paths.METRICS / f"{name}.json", needed=False) or "{}"))

    validation, classes, synthetic = read_answers(io.BytesIO(read(paths.VALIDATION) or b""))
    test, _, _ = read_answers(io.BytesIO(read(paths.ANSWERS) or b""))
    lock = yaml.safe_load(read(Path("dvc.lock")) or b"")
    raw = [out["md5"] for out in lock["stages"]["download"]["outs"] if out["path"] == paths.RAW.as_posix()]
    source = json.loads(read(paths.SOURCE, needed=False) or "{}")
    return Version(
        validation=sorted_by_name(validation.of_people()),
        test=sorted_by_name(test.of_people()),
        classes=classes,
        computed=int(validation.computed.sum() + test.computed.sum()),
        synthetic=synthetic,
        evaluated=figures("evaluate"),
        exported=figures("export"),
        recordings=(raw[0] if raw else None, source.get("sha256")),
    )


@dataclass(frozen=True)
class Comparison:
    """The accuracies of A and B on the clips of a split, and what the paired test says.

    Attributes:
        split: `validation` or `test`.
        accuracies: of A and B, each with the ends of its interval.
        clips: how many A and B have answered.
        verdict: BETTER, WORSE, UNDECIDED, or empty if they cannot be compared.
        difference: of the paired test, if they can.
        whom: its interval holds for.
        problem: why they cannot be compared, or empty.
    """

    split: str
    accuracies: tuple[tuple[float, float, float], tuple[float, float, float]]
    clips: tuple[int, int]
    verdict: str
    difference: Difference | None
    whom: str
    problem: str


def compare(base: Version, change: Version, split: str) -> Comparison:
    """Compares A and B on a split."""
    answers = [getattr(version, split) for version in (base, change)]
    first, second = (answered(one, version.classes) for one, version in zip(answers, (base, change), strict=True))
    problem = clips_differ(first, second)
    if not problem and not base.has_recordings_of(change):
        problem = "the recordings are not known to be the same: clips of one name may sound otherwise"
    ends = [(float(one.correct.mean()), *share_interval(one.correct, one.speakers)) for one in (first, second)]
    return Comparison(
        split,
        accuracies=(ends[0], ends[1]),
        clips=(len(first.correct), len(second.correct)),
        verdict="" if problem else verdict(first, second),
        difference=None if problem else paired_test(first, second),
        whom=for_whom(first),
        problem=problem,
    )


def new_mistakes(base: Version, change: Version) -> list[dict[str, Any]]:
    """The validation clips that A answers rightly and B wrongly, the most confident mistakes first.

    Both have answered the same clips.
    """
    before, now = base.validation, change.validation
    wrong = np.flatnonzero(before.correct & ~now.correct)
    order = wrong[np.argsort(-now.confidence[wrong], kind="stable")]
    predicted, labels = now.predicted, now.labels
    return [
        {
            "name": now.names[clip],
            "word": change.classes[labels[clip]],
            "before": float(before.confidence[clip]),
            "now": float(now.probabilities[clip, labels[clip]]),
            "answer": change.classes[predicted[clip]],
            "score": float(now.confidence[clip]),
        }
        for clip in order
    ]


def stale_stages(status: Mapping[str, Sequence[Any]], outputs: Collection[str]) -> list[str]:
    """The stages that this report is about, whose results in the workspace are of other code or parameters.

    A stage whose inputs are not on this machine is not known to be stale: dvc.lock has their hashes.

    Args:
        status: as `dvc status --json` prints it.
        outputs: paths that stages write.
    """

    def is_stale(change: Any) -> bool:
        if isinstance(change, str):
            return change != "always changed"
        return any(
            state not in ("deleted", "not in cache") or path not in outputs
            for changed in change.values()
            for path, state in changed.items()
        )

    return [stage for stage in STAGES[: STAGES.index("project")] if any(map(is_stale, status.get(stage, [])))]


def parameter_rows(difference: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, str]]:
    """A row for each parameter that differs, of params.yaml and then of other files. Addresses lose their passwords.

    Args:
        difference: what `dvc params diff --json` prints.
    """
    return [
        {"name": name if path == "params.yaml" else f"{path}: {name}"}
        | {which: _shown(values.get(which)) for which in ("old", "new")}
        for path, parameters in sorted(difference.items())
        for name, values in sorted(parameters.items())
    ]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, str):
        return public_address(value)
    return "" if value is None else json.dumps(value)


def size_rows(before: Mapping[str, float], now: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row for each exported file and cost that A or B has: `file`, `cost`, `before`, `now`. No time is among them.

    Args:
        before: content of metrics/export.json of A.
        now: of B.
    """
    rows = []
    for name in dict.fromkeys([*before, *now]):
        found = re.fullmatch(rf"(.+?)_({'|'.join(COST)})", name)
        if found:
            rows.append(
                {
                    "file": KINDS.get(found[1], found[1]),
                    "cost": found[2].replace("_", " "),
                    "before": before.get(name),
                    "now": now.get(name),
                }
            )
    return rows


def figure_rows(before: Mapping[str, float], now: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row for each of FIGURES that A or B has: `name`, and for each its value and the ends of its interval."""
    return [
        {
            "name": label,
            "share": "an_hour" not in name,
            "values": [
                [figures[f"{name}{end}"] for end in ("", "_low", "_high")] if name in figures else None
                for figures in (before, now)
            ],
        }
        for name, label in FIGURES.items()
        if name in before or name in now
    ]


def code(text: Any) -> str:
    """Text as code in a cell of a table, whatever it holds: backticks and bars end neither the code nor the cell."""
    line = textwrap.shorten(str(text), LONGEST, placeholder=" …")
    if not line:
        return ""
    marks = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    space = " " if "`" in line else ""
    return f"{marks}{space}{line}{space}{marks}".replace("|", r"\|")


@dataclass(frozen=True)
class About:
    """What git and DVC say of A and B.

    Attributes:
        commits: hash and subject of both.
        uncommitted: whether the workspace, which is B, differs from its commit.
        parameters: as `parameter_rows` returns them.
        stale: as `stale_stages` returns them.
    """

    commits: Sequence[str]
    uncommitted: bool
    parameters: Sequence[Mapping[str, str]]
    stale: Sequence[str]


def report(base: Version, change: Version, about: About) -> str:
    """The report of A and B in Markdown."""
    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 (Markdown, not HTML: filter `code` is for all that is not ours)
    )
    environment.filters |= {"code": code, "percent": _percent, "interval": _interval, "number": _number}
    validation, test = (compare(base, change, split) for split in ("validation", "test"))
    mistakes = [] if validation.problem else new_mistakes(base, change)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(
        validation=validation,
        test=test,
        undecided=UNDECIDED,
        about=about,
        sentence=verdict_sentence(validation),
        gate="The gate stops it." if gate_problem(validation, about.stale) else "The gate lets it pass.",
        parameters=about.parameters[:ROWS],
        more_parameters=len(about.parameters[ROWS:]),
        figures=figure_rows(base.evaluated, change.evaluated),
        mistakes=mistakes[:WORST],
        all_mistakes=len(mistakes),
        sizes=size_rows(base.exported, change.exported)[:ROWS],
        synthetic=change.synthetic,
        computed=(base.computed, change.computed),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _interval(figure: Sequence[float], *, share: bool = True) -> str:
    value, low, high = figure
    if share:
        return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def pictures(base: Version, change: Version, names: tuple[str, str], folder: Path) -> None:
    """Draws accuracies.png and confusion.png into a folder.

    Args:
        base: A.
        change: B.
        names: of both, for the titles.
        folder: that exists.
    """
    splits = {split: compare(base, change, split) for split in ("validation", "test")}
    differences = {
        split: (one.difference.accuracy, *one.difference.interval) for split, one in splits.items() if one.difference
    }
    accuracies = {split: one.accuracies for split, one in splits.items()}
    save_figure(accuracies_figure(accuracies, differences, names, change.synthetic), folder / "accuracies.png")
    matrices = [
        confusion_matrix(one.validation.labels, one.validation.predicted, len(one.classes)) for one in (base, change)
    ]
    panels = list(zip(names, matrices, (base.classes, change.classes), strict=True))
    save_figure(confusions_figure(panels, change.synthetic), folder / "confusion.png")


def verdict_sentence(one: Comparison) -> str:
    """What a split says of the change, in a sentence."""
    if not one.difference:
        return f"it is not compared: {one.problem}."
    return f"it is {one.verdict}: {one.difference} ({one.whom})."


def gate_problem(validation: Comparison, stale: Sequence[str]) -> str:
    """Why the gate stops a change, or empty. What cannot be compared passes."""
    if stale:
        return f"the results are of other code or parameters ({', '.join(stale)}): run dvc repro, and commit"
    if validation.verdict == WORSE:
        return f"on validation the change is significantly worse: {validation.difference}"
    return ""


def _subject(commit: str) -> str:
    return textwrap.shorten(_git("log", "-1", "--format=%h %s", commit), 72, placeholder=" …")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607


def main() -> None:
    """Writes the report. With GATE=1 it exits with code 1 if the gate stops the change."""
    revision = sys.argv[1]
    try:
        gate = is_on("GATE")
        base, change = read_version(revision), read_version(None)
    except UserError as error:
        sys.exit(f"error: {error}")
    repo = Repo()
    about = About(
        commits=[_subject(commit) for commit in (resolve_rev(repo.scm, revision), "HEAD")],
        uncommitted=bool(_git("status", "--porcelain", "--untracked-files=no")),
        parameters=parameter_rows(repo.params.diff(a_rev=revision).get("diff", {})),
        stale=stale_stages(repo.status(), {out.def_path for out in repo.index.outs}),
    )
    validation = compare(base, change, "validation")
    with folder_written_whole(FOLDER) as folder:
        pictures(base, change, ("A", "B"), folder)
        text = report(base, change, about)
        (folder / "report.md").write_text(text, encoding="utf-8")
    print(f"{FOLDER / 'report.md'}: on validation, {verdict_sentence(validation)}")
    if gate and (problem := gate_problem(validation, about.stale)):
        sys.exit(f"error: the gate stops this change: {problem}")


if __name__ == "__main__":
    main()
