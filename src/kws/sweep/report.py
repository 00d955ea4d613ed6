"""What a sweep found: a table of its trials, pictures, and a preset that says what it cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from kws.core import paths
from kws.core.address import public_address
from kws.core.files import folder_written_whole, write_csv, written_whole
from kws.core.stage import voices_title
from kws.plots.figures import importance_figure, save_figure, study_figure
from kws.sweep.space import Search
from kws.sweep.study import SharedStudy, numbered, was_killed

FOUND = Path("presets/found")
STATES = {  # of a trial, in the table
    TrialState.COMPLETE: "whole",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
FIGURES = ("validation_accuracy", "validation_loss", "epochs", "cpu_seconds", "runs", "killed_runs")
IMPORTANCE_TRIALS = 5  # whole ones: with fewer, importance is not computed


def trial_rows(study: SharedStudy) -> list[dict[str, Any]]:
    """A row for each trial: what became of it, its figures, and the values that it tried.

    Trials that were run again are one row, with the CPU time of all runs that were not killed.
    """
    return [_row(study.name, number, runs) for number, runs in numbered(study.trials()).items()]


def _row(name: str, number: int, runs: Sequence[FrozenTrial]) -> dict[str, Any]:
    last, kept = runs[-1], runs[-1].user_attrs
    cpu = sum(run.user_attrs.get("cpu_seconds", 0) for run in runs)
    killed = was_killed(last)
    whole = last.state == TrialState.COMPLETE
    return {
        "trial": number,
        "state": "killed" if killed else STATES[last.state],
        "validation_accuracy": "" if last.value is None else round(last.value, 6),
        "validation_loss": kept.get("validation_loss", ""),
        "epochs": len(last.intermediate_values),
        "cpu_seconds": round(cpu, 1),
        "runs": sum(run.state != TrialState.WAITING for run in runs),
        "killed_runs": sum(map(was_killed, runs)),
        "experiment": f"{name}-{number}" if whole else "",
        **kept.get("values", last.params),
        "reason": kept.get("reason", ""),
    }


def best_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The whole trial with the highest validation accuracy; of equal ones that with the lowest loss."""
    whole = [row for row in rows if row["state"] == "whole"]
    return max(whole, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]), default=None)


def importances(study: SharedStudy) -> dict[str, float]:
    """The share of the variance of validation accuracy that each parameter explains, the largest first.

    By functional ANOVA (Hutter et al., 2014) on the whole trials. Optuna's default looks at the best tenth of the
    trials, which are two of twenty. Nothing with fewer than five trials, or if all have one accuracy.
    """
    accuracies = [trial.value for trial in study.trials() if trial.state == TrialState.COMPLETE]
    if len(accuracies) < IMPORTANCE_TRIALS or len(set(accuracies)) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=1)
    return dict(optuna.importance.get_param_importances(study.study, evaluator=evaluator))


def report(study: SharedStudy, rows: Sequence[Mapping[str, Any]], shares: Mapping[str, float], wanted: int) -> str:
    """What came of the study, as text; arguments as they are returned here."""
    counts = {state: sum(row["state"] == state for row in rows) for state in (*STATES.values(), "killed")}
    told = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    lines = [f"Study {study.name}: {len(rows)} of {wanted} trials; {told or 'none has begun'}."]
    if again := [row for row in rows if row["killed_runs"] and row["runs"] > 1]:
        lines.append(f"Run again, since a worker was killed: trial {_numbers(again)}.")
    if lost := [row for row in rows if row["state"] == "killed"]:
        lines.append(f"Without a result, since their workers were killed twice: trial {_numbers(lost)}.")
    lines += [f"Trial {row['trial']} failed: {row['reason']}" for row in rows if row["state"] == "failed"]
    best = best_row(rows)
    if not best:
        return "\n".join([*lines, "No trial is whole, so that nothing is found."])
    lines.append(f"Best is trial {best['trial']}: {_accuracy(study, best)}. It is experiment {best['experiment']}.")
    lines += _too_good(counts["whole"] + counts["stopped"])
    importance = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    if not importance:
        importance = f"it needs {IMPORTANCE_TRIALS} whole trials that differ in accuracy"
    return "\n".join([*lines, f"Importance of the parameters: {importance}."])


def _too_good(trials: int) -> list[str]:
    """What to know of the best of so many trials."""
    return [
        f"It is the best of {trials} on the same validation clips, with one seed.",
        "For other clips and other seeds this accuracy is too good.",
        "make seeds measures it with other seeds, make compare compares it with another experiment.",
        "Report the test of what you chose, once.",
    ]


def _public(value: Any) -> Any:
    """The value of a parameter without what a file must not tell: an address keeps no password."""
    return public_address(value) if isinstance(value, str) and value.startswith("http") else value


def _numbers(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(row["trial"]) for row in rows)


def _accuracy(study: SharedStudy, best: Mapping[str, Any]) -> str:
    data = study.data() or {}
    result = f"validation accuracy {best['validation_accuracy']:.2%} on {data['validation']} clips"
    return voices_title(result, bool(data["synthetic"]))


def preset_text(study: SharedStudy, rows: Sequence[Mapping[str, Any]], file: Path, values: Mapping[str, Any]) -> str:
    """The preset of the best trial. Its head says how it was found, on which data, and what that cost.

    Args:
        study: with a whole trial.
        rows: as `trial_rows` returns them.
        file: of the space.
        values: of all parameters that the trial sets.
    """
    best, data = best_row(rows), study.data()
    assert best
    assert data
    whole, stopped, failed = (sum(row["state"] == state for row in rows) for state in ("whole", "stopped", "failed"))
    killed = sum(row["killed_runs"] for row in rows)
    without = f" (the time of killed runs, {killed}, is not known)" if killed else ""
    cost = f"{sum(row['cpu_seconds'] for row in rows) / 3600:.2g} hours of CPU time{without}"
    head = [
        f"Found by make sweep on {file}: trial {best['trial']} of study {study.name}, {_accuracy(study, best)}.",
        f"It cost {len(rows)} trials ({whole} whole, {stopped} stopped early, {failed} failed) and {cost}.",
        f"Data: {data['dataset']}, SHA-256 {data['sha256']}, {data['train']} clips in training. Commit {study.commit}.",
        *_too_good(whole + stopped),
    ]
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in head) + "\n" + text


def write_results(study: SharedStudy, search: Search) -> str:
    """Writes table, pictures, text and preset of a study, and returns the text."""
    rows, searched = trial_rows(study), search.space.scales()
    shares = importances(study)
    told = report(study, rows, shares, search.wanted)
    synthetic = bool((study.data() or {}).get("synthetic", False))
    target = paths.PLOTS / "sweep" / study.name
    columns = ["trial", "state", *FIGURES, "experiment", *searched, "reason"]
    with folder_written_whole(target) as folder:
        write_csv(folder / "study.csv", rows, columns)
        save_figure(study_figure(rows, searched, synthetic), folder / "study.png")
        if shares:
            save_figure(importance_figure(shares, synthetic), folder / "importance.png")
        (folder / "report.txt").write_text(told + "\n", encoding="utf-8")
    told += f"\nThe table and the pictures: {target}"
    if best := best_row(rows):
        found = FOUND / f"{study.name}.yaml"
        names = [setting.partition("=")[0] for setting in search.overrides_of({})]
        values = search.base.model_dump(mode="json", include=set(names))
        values = {name: _public(values[name]) for name in names} | {name: best[name] for name in searched}
        with written_whole(found) as partial:
            partial.write_text(preset_text(study, rows, search.file, values), encoding="utf-8")
        told += f"\nThe preset: {found}. make exp PRESET=found/{study.name} runs the whole pipeline with it."
    return told
