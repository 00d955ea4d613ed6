"""Writes figures of README.md and docs/ from the files of the pipeline and the benchmarks: `make readme`."""

import csv
import json
import statistics
from collections.abc import Mapping
from pathlib import Path

from kws.commands.summary import summary
from kws.core.files import written_whole

README = Path("README.md")
RECIPES = Path("docs/recipes.md")
SPEED = Path("docs/speed.md")
DATA = Path("docs/data.md")
MACHINES = Path("docs/larger-machines.md")
WORKERS = Path("docs/training-workers.md")
EVALUATION = Path("docs/evaluation.md")
FAULTS = Path("docs/faults.md")
DECISION_RULE = Path("docs/decisions/0009-a-word-is-told-at-once.md")
STREAMING = Path("docs/streaming.md")
ESPHOME = Path("docs/esphome.md")
FEW_RECORDINGS = Path("docs/few-recordings.md")
COVERAGE = Path("benchmarks/coverage.csv")
FIND_WORDS = Path("benchmarks/find_words.csv")
CAUSAL = Path("benchmarks/causal.csv")
WAKE_WORD = Path("benchmarks/wake_word.csv")
FEW = Path("benchmarks/few_recordings.csv")
RULE = Path("benchmarks/detection_rule.csv")
RULE_SWEEP = Path("benchmarks/detection_rule_sweep.csv")
TABLE = Path("benchmarks/original_recipe.csv")
PRESETS = Path("benchmarks/presets.csv")
PRESETS_BEFORE = Path("benchmarks/presets_before.csv")  # what stood here until the evaluation was mended
LEARNING_CURVE = Path("benchmarks/learning_curve.csv")
LAW = Path("benchmarks/learning_curve_law.csv")
ABLATION = Path("benchmarks/ablation.csv")
MEMORY = Path("benchmarks/memory.csv")
TRAINING_WORKERS = Path("benchmarks/training_workers.csv")
TORTURE = Path("benchmarks/torture.csv")
CLUSTER = Path("benchmarks/cluster.csv")
CLUSTER_PAGE = Path("docs/cluster.md")
RATIOS = Path("benchmarks/speed.json")
TIME_TO_ACCURACY = Path("benchmarks/time_to_accuracy.csv")
EXPERIMENT = Path("docs/exp-run.txt")  # what `dvc exp show` and `dvc metrics diff` printed
FIGURES = {  # of a case: label, and name in benchmarks/presets.csv
    "accuracy": "accuracy",
    "accuracy in noise at 0 dB": "noise_0db_accuracy",
    "recall of silence": "recall__silence_",
    "recall of unknown words": "recall__unknown_",
    "on and off, words that are not in training: rejected": "unheard_rejected",
    "missed words in the stream": "stream_missed",
    "false alarms per hour in the stream": "stream_false_alarms_an_hour",
    "of them at other speech": "stream_speech_false_alarms_an_hour",
    "of them in background": "stream_background_false_alarms_an_hour",
    "of them beside a word": "stream_word_false_alarms_an_hour",
    "of all words told within 0.3 s of their end": "stream_within_300_ms",
    "of all words told within 0.5 s of their end": "stream_within_500_ms",
    "seconds from the end of a word to its report, of the words that are heard (median)": "stream_delay_seconds",
    "the same, 95 % of the words that are heard": "stream_delay_95_seconds",
}
CASES = {  # in benchmarks/presets.csv: what is recognised, and the preset
    "fast": ("*ten*", "fast"),
    "best": ("*ten*", "best"),
    "balanced on ten": ("*ten*", "balanced"),
    "fast rejecting": ("*eight*, unknown words, silence", "fast"),
    "best rejecting": ("*eight*, unknown words, silence", "best"),
    "balanced": ("*eight*, unknown words, silence", "balanced"),
}
SPEED_WORDS = {  # labels in benchmarks/speed.json, and what they mean
    ", doing nothing, against pyplot": ": time to start, against importing matplotlib",
    "against five times true": "against five stages of the command true",
    "most against fewest clips": "{most:,} against {fewest:,} clips",
    "most against middle": "{most:,} against {middle:,} clips",
    "time a clip": "time per clip",
}
FEW_CASES = {  # in benchmarks/few_recordings.csv
    "seven": "Seven words: on, off, zero, one, five, eight, happy",
    "seven and other words": "The same words, with class `_unknown_`",
    "ten": "*Ten*: bed, cat, down, go, left, no, right, stop, up, yes; another embedding, which has not heard them",
    "fast": "The seven words, with preset *fast* as it was trained on *ten* in place of the embedding",
    "best": "The seven words, with preset *best* as it was trained on *ten* in place of the embedding",
}
PROTOTYPES = {
    "original ten": "87.3 %",
    "eight": "88.3 %",
    "ten": "86.6 %",
}  # test accuracy with the same recipe, means of 2, 2 and 3 seeds


def main() -> None:
    """Replaces the text between the marks of each page."""
    for page, contents in {
        README: {
            "summary": _block(summary()),
            "exp": _block(EXPERIMENT.read_text()),
            "presets": presets(),
            "training times": training_times(),
            "learning curve": learning_curve(),
            "verdict": verdict(),
            "table": table(),
        },
        RECIPES: {"ablation": ablation()},
        SPEED: {"speed": speed()},
        DATA: {"find words": find_words()},
        MACHINES: {"memory": memory()},
        WORKERS: {"training workers": training_workers()},
        FAULTS: {"torture": torture()},
        CLUSTER_PAGE: {
            "cluster": cluster(),
            "cluster names": cluster_names(),
            "cluster extrapolation": cluster_extrapolation(),
        },
        EVALUATION: {"coverage": coverage()},
        STREAMING: {"causal": causal()},
        ESPHOME: {"wake word": wake_word()},
        FEW_RECORDINGS: {"few recordings": few_recordings()},
        DECISION_RULE: {"detection rule": detection_rule(), "detection sweep": detection_sweep()},
    }.items():
        text = page.read_text(encoding="utf-8")
        for name, content in contents.items():
            before, _, after = text.partition(f"<!-- {name} -->")
            text = f"{before}<!-- {name} -->\n{content}\n<!-- end -->" + after.partition("<!-- end -->")[2]
        with written_whole(page) as partial:
            partial.write_text(text, encoding="utf-8")


def table() -> str:
    """The table of the original recipe, from benchmarks/original_recipe.csv."""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    seeds = sorted({row["seed"] for row in rows})
    heads = ["words", "split", "clips", *(f"seed {seed}" for seed in seeds), "mean", "prototype"]
    lines = [heads, ["---"] * len(heads)]
    for selection in dict.fromkeys(row["selection"] for row in rows):
        group = [row for row in rows if row["selection"] == selection]
        accuracies = [float(row["accuracy"]) for row in group]
        cells = [
            f"{float(r['accuracy']):.1%} [{float(r['accuracy_low']):.1%}, {float(r['accuracy_high']):.1%}]"
            for r in group
        ]
        clips = f"{group[0]['train_clips']} train, {group[0]['test_clips']} test"
        mean = f"**{statistics.mean(accuracies):.1%}**"
        lines.append([selection, group[0]["split"], clips, *cells, mean, PROTOTYPES[selection]])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def presets() -> str:
    """The table of the presets, from benchmarks/presets.csv, beside the figures of before, from presets_before.csv."""
    with PRESETS.open(newline="") as file, PRESETS_BEFORE.open(newline="") as before:
        rows, old_rows = list(csv.DictReader(file)), list(csv.DictReader(before))
    lines = [["test", "preset", "mean [95 % interval]", "by seed", "before"]]
    lines.append(["---"] * len(lines[0]))
    for case, (words, preset) in CASES.items():
        group, old = ([row for row in table if row["case"] == case] for table in (rows, old_rows))
        if not group:
            continue
        *seeds, all_seeds = group
        for what, figure in FIGURES.items():
            if not all_seeds.get(figure):
                continue  # this case has no such class or stream, or the figure is newer than the measurement
            show = _rate if "seconds" in figure or "an_hour" in figure else _percent
            mean = f"**{show(float(all_seeds[figure]))}**"
            if all_seeds.get(f"{figure}_low"):
                mean += " [{}, {}]".format(*(show(float(all_seeds[f"{figure}_{end}"])) for end in ("low", "high")))
            by_seed = ", ".join(f"{row['seed']}: {show(float(row[figure]))}" for row in seeds if row[figure])
            measured = [float(row[figure]) for row in old if row.get(figure)]
            before = show(statistics.mean(measured)) if measured else "not measured"
            lines.append([f"{words}: {what}", preset, mean, by_seed, before])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def training_times() -> str:
    """A sentence on the CPU time of training, from benchmarks/presets.csv."""
    with PRESETS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    minutes = {
        CASES[row["case"]][1]: float(row["cpu_seconds"]) / 60
        for row in rows
        if row["seed"] == "all" and row["case"] in ("fast", "best", "balanced")
    }
    return "CPU time of a training: " + ", ".join(f"*{name}* {time:.0f} min" for name, time in minutes.items()) + "."


def learning_curve() -> str:
    """The table of the learning curves, from benchmarks/learning_curve.csv and learning_curve_law.csv."""
    with LEARNING_CURVE.open(newline="") as file, LAW.open(newline="") as laws:
        rows, law_rows = list(csv.DictReader(file)), list(csv.DictReader(laws))
    lines = [["recipe", "training clips", "test accuracy by seed", "law", "law of the smaller sizes"]]
    lines.append(["---"] * len(lines[0]))
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        law, foretold = (
            {int(row["train_clips"]): _with_interval(row) for row in law_rows if (row["recipe"], row["what"]) == key}
            for key in ((recipe, "law"), (recipe, "foretold"))
        )
        measured = {int(row["train_clips"]) for row in rows if row["recipe"] == recipe}
        for clips in sorted(measured | law.keys()):
            seeds = [row for row in rows if (row["recipe"], int(row["train_clips"])) == (recipe, clips)]
            by_seed = ", ".join(_percent(float(row["accuracy"])) for row in seeds) or "not measured"
            lines.append([recipe, f"{clips:,}", by_seed, law.get(clips, ""), foretold.get(clips, "")])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdict() -> str:
    """Whether the published accuracy lies in the law's interval, and what to expect of the whole data set."""
    with LAW.open(newline="") as file:
        rows = list(csv.DictReader(file))
    laws = [row for row in rows if row["what"] == "law"]
    [published] = (float(row["accuracy"]) for row in rows if row["what"] == "published")
    original, best = (max((row for row in laws if row["recipe"] == name), key=_clips) for name in ("original", "best"))
    low, high = (float(original[f"accuracy_{end}"]) for end in ("low", "high"))
    where = "lies in" if low <= published <= high else "lies outside"
    return (
        f"**The published {_percent(published)} {where} the interval of the law**: on as many training clips as the "
        f"original had ({_clips(original):,}),\nthe law of the original recipe gives {_with_interval(original)}. "
        f"For preset *best*, who downloads the whole data set may expect\n{_with_interval(best)} with "
        f"{_clips(best):,} training clips. That is far from what was measured: four times the largest size."
    )


def _clips(row: dict[str, str]) -> int:
    return int(row["train_clips"])


def _with_interval(row: dict[str, str]) -> str:
    accuracy, low, high = (_percent(float(row[name])) for name in ("accuracy", "accuracy_low", "accuracy_high"))
    return f"{accuracy} [{low}, {high}]"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _rate(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def ablation() -> str:
    """The table of the ablation, from benchmarks/ablation.csv: each change compared with the preset, seed by seed."""
    with ABLATION.open(newline="") as file:
        rows = list(csv.DictReader(file))
    accuracy = {(row["change"], row["seed"]): float(row["validation_accuracy"]) for row in rows}
    lines = [["change", "validation accuracy", "against the preset, seed by seed", "parameters", "CPU time"]]
    lines.append(["---"] * len(lines[0]))
    for change in dict.fromkeys(row["change"] for row in rows):
        group = [row for row in rows if row["change"] == change]
        mean = statistics.mean(accuracy[change, row["seed"]] for row in group)
        gains = [100 * (accuracy[change, row["seed"]] - accuracy["as it is", row["seed"]]) for row in group]
        gain = (
            ""
            if change == "as it is"
            else f"**{statistics.mean(gains):+.1f}** ({', '.join(f'{g:+.1f}' for g in gains)})"
        )
        seconds = statistics.mean(float(row["cpu_seconds"]) for row in group)
        lines.append([change, f"{mean:.1%}", gain, f"{int(group[0]['parameters']):,}", f"{seconds:.0f} s"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def find_words() -> str:
    """The table of the words that are found in longer recordings, from benchmarks/find_words.csv."""
    with FIND_WORDS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ratios = list(dict.fromkeys(row["snr_db"] for row in rows))
    lines = [[f"{rows[0]['clips']} clips; signal-to-noise ratio", *(f"{ratio} dB" for ratio in ratios)]]
    lines.append(["---"] * len(lines[0]))
    lines += [
        [method, *(f"{100 * float(row['found']):.1f} %" for row in rows if row["method"] == method)]
        for method in dict.fromkeys(row["method"] for row in rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def memory() -> str:
    """The table of docs/larger-machines.md, from benchmarks/memory.csv: a line a stage, a column a case."""
    with MEMORY.open(newline="") as file:
        rows = list(csv.DictReader(file))
    cases = list(dict.fromkeys(row["case"] for row in rows))
    lines = [["peak memory (open files)", *cases], ["---"] * (1 + len(cases))]
    for stage in dict.fromkeys(row["stage"] for row in rows):
        of_case = {row["case"]: row for row in rows if row["stage"] == stage}
        cells = (of_case.get(case) for case in cases)
        lines.append([stage, *(f"{int(row['peak_mb']):,} MB ({row['open_files']})" if row else "" for row in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cluster() -> str:
    """The table of docs/cluster.md, from benchmarks/cluster.csv: a line a run, and what Dask costs at one worker."""
    rows = [row for row in _cluster_rows() if not row["case"].startswith("names")]
    lines = [["clips", "run", "hosts", "cores", "time", "CPU time", "stage", "scheduler", "worker", "same bytes"]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        workers = int(row["workers"])
        title = f"{row['case']}, {workers} worker{'s' if workers > 1 else ''}" if workers else row["case"]
        numbers = [f"{float(row['seconds']):,.0f} s", f"{float(row['cpu_seconds']):,.0f} s"]
        sizes = (int(row[name]) for name in ("stage_mb", "scheduler_mb", "worker_mb"))
        memory = [f"{size:,} MB" if size else "" for size in sizes]
        hosts = row["hosts"] or "one process"
        lines.append([f"{int(row['clips']):,}", title, hosts, row["cores"], *numbers, *memory, row["same_bytes"]])
    costs = []
    for clips in dict.fromkeys(row["clips"] for row in rows):
        run = {(row["case"], row["workers"], row["cores"]): row for row in rows if row["clips"] == clips}
        alone, one = run["without Dask", "0", "1"], run["Dask", "1", "1"]
        more = [100 * (float(one[name]) / float(alone[name]) - 1) for name in ("seconds", "cpu_seconds")]
        costs.append(f"with {int(clips):,} clips {more[0]:+.0f} % of the time, {more[1]:+.0f} % of the CPU time")
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\nDask at one worker, on the same core: {'; '.join(costs)}."


def cluster_names() -> str:
    """The memory of download and featurize with few and many names, from benchmarks/cluster.csv."""
    rows = [row for row in _cluster_rows() if row["case"].startswith("names")]
    if not rows:
        return "Not measured yet."
    lines = [["names", "stage", "time", "peak memory"], ["---"] * 4]
    lines += [
        [
            f"{int(row['clips']):,}",
            row["case"].removeprefix("names: "),
            f"{float(row['seconds']):,.0f} s",
            f"{int(row['stage_mb']):,} MB",
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cluster_extrapolation(  # noqa: PLR0913 (that much is assumed)
    clips: int = 23_400_000,
    clip_bytes: float = 26e9 / (1957 * 3600),
    *,
    cores: int = 16,
    price: float = 0.05,
    bytes_a_second: float = 1e9,
    reads_a_second: float = 50_000,
) -> str:
    """What docs/cluster.md says of a large set, from benchmarks/cluster.csv: on 1, 10 and 100 machines.

    What grows with the clips is the difference between the runs of one worker with few and with many clips. The rest,
    such as imports, each process does once.

    Args:
        clips: of the set.
        clip_bytes: of a clip. English of the Multilingual Spoken Words Corpus: 26 GB in Opus, 1,957 hours, by its card.
        cores: of a machine, each with a worker.
        price: of a core, in $ an hour; a guess.
        bytes_a_second: that the file server reads and writes; a guess.
        reads_a_second: short ones at any place, that it answers; a guess.
    """
    ones = [row for row in _cluster_rows() if (row["case"], row["workers"]) == ("Dask", "1")]
    few, many = (min(ones, key=lambda row: int(row["clips"])), max(ones, key=lambda row: int(row["clips"])))
    stage, stage_once = _growth(few, many, "stage_cpu_seconds")
    total, total_once = _growth(few, many, "cpu_seconds")
    work, work_once = total - stage, total_once - stage_once
    features = _growth(few, many, "features_mb")[0] * 1e6 * clips
    recordings = clips * (clip_bytes + 768)  # a header of 512 bytes in the tar, and on average half of one to fill up
    choosing = stage_once + stage * clips
    finding = recordings / bytes_a_second
    machines = (1, 10, 100)
    computing = [work_once + work * clips / (number * cores) for number in machines]
    answering, moving = clips / reads_a_second, (recordings + features) / bytes_a_second
    whole = [choosing + finding + max(each, answering, moving) for each in computing]
    costs = [seconds / 3600 * number * cores * price for seconds, number in zip(whole, machines, strict=True)]
    lines = [
        ["", *(f"{number} machine{'s' if number > 1 else ''}" for number in machines)],
        ["---"] * 4,
        ["one process chooses, plans, collects", *[_minutes(choosing)] * 3],
        ["to find the recordings, it reads the tars once", *[_minutes(finding)] * 3],
        [f"all workers compute: {work * clips / 3600:,.1f} h of a core", *map(_minutes, computing)],
        ["the file server answers a short read for each recording", *[_minutes(answering)] * 3],
        ["it moves recordings and features", *[_minutes(moving)] * 3],
        ["from begin to end: the first two, and the longest of the others", *map(_minutes, whole)],
        ["cost", *(f"{cost:,.2f} $" for cost in costs)],
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    sizes = (
        f"The recordings take {recordings / 1e12:.2f} TB as tars, the features {features / 1e12:.2f} TB in "
        f"{-(-clips // 1024):,} shards. If all cores of 100 machines computed at full speed, they would need "
        f"{clips / computing[-1]:,.0f} short reads and write {features / computing[-1] / 1e9:,.1f} GB a second."
    )
    return "\n\n".join([table, sizes, *_names_extrapolation(clips)])


def _names_extrapolation(clips: int) -> list[str]:
    """What so many names cost before anything is computed; nothing, where that has not been measured."""
    told = []
    for stage in ("download", "featurize"):
        rows = [row for row in _cluster_rows() if row["case"] == f"names: {stage}"]
        if rows:
            few, many = (min(rows, key=lambda row: int(row["clips"])), max(rows, key=lambda row: int(row["clips"])))
            time, time_once = _growth(few, many, "seconds")
            memory = _memory(few, many, "stage_mb", clips)
            told.append(f"`{stage}` {memory} of memory and {_minutes(time_once + time * clips)}")
    return [f"By the table of names, so many names and sounds of 50 ms take {', '.join(told)}, alone."] if told else []


def _growth(few: Mapping[str, str], many: Mapping[str, str], name: str) -> tuple[float, float]:
    """What a clip adds to a figure, and what it is without clips: the line through two runs."""
    slope = (float(many[name]) - float(few[name])) / (int(many["clips"]) - int(few["clips"]))
    return slope, max(0.0, float(few[name]) - slope * int(few["clips"]))


def _memory(few: Mapping[str, str], many: Mapping[str, str], name: str, clips: int) -> str:
    slope, once = _growth(few, many, name)
    return f"{(once + slope * clips) / 1e3:,.1f} GB"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f} min"


def _cluster_rows() -> list[dict[str, str]]:
    with CLUSTER.open(newline="") as file:
        return list(csv.DictReader(file))


def training_workers() -> str:
    """The table of docs/training-workers.md, from benchmarks/training_workers.csv."""
    with TRAINING_WORKERS.open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["seed"], row["case"]))
    titles = [
        "",
        "seed",
        "validation accuracy",
        "test accuracy",
        "difference from one machine",
        "last weights",
        "network",
    ]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        more = ""
        if row["difference"]:
            points, low, high = (100 * float(row[name]) for name in ("difference", "difference_low", "difference_high"))
            more = f"{points:+.1f} [{low:+.1f}, {high:+.1f}]"
        cells = [row["case"], row["seed"], _percent(float(row["validation_accuracy"])), _with_interval(row)]
        weights = dict.fromkeys((row["weights_0"][:8], row["weights_1"][:8]))
        lines.append([*cells, more, ", ".join(weights), row["network"][:8]])
    about = (
        f"{rows[0]['data']}: {int(rows[0]['train_clips']):,} training clips, {int(rows[0]['test_clips']):,} test clips."
    )
    return "\n".join([about, "", *(f"| {' | '.join(line)} |" for line in lines)])


def torture() -> str:
    """The table of docs/faults.md, from benchmarks/torture.csv: a line a kind, and one for all."""
    with TORTURE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [["kind", "stages", "tried", "ended as undisturbed", "ended in one line", "unexplained"], ["---"] * 6]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [row for row in rows if row["kind"] == kind]
        sums = [
            str(sum(int(row[name]) for row in of_kind)) for name in ("tried", "undisturbed", "one line", "unexplained")
        ]
        lines.append([kind, ", ".join(row["stage"] for row in of_kind), *sums])
    drawn = f"`TRIES={rows[0]['tries']} SEED={rows[0]['seed']}`."
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{drawn}"


def coverage() -> str:
    """The tables of how often intervals hold the truth, from benchmarks/coverage.csv: counted, and by group."""
    with COVERAGE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    held: dict[tuple[str, str], list[float]] = {}  # by kind and interval
    groups: dict[tuple[str, str], dict[str, list[float]]] = {}  # by kind and group, then by interval
    for row in rows:
        people, *more = row["scenario"].split(", ")
        grouped = f"{people}, {more[1]}" if "correlation" in row["scenario"] else row["scenario"]
        for found in (
            held.setdefault((row["kind"], row["interval"]), []),
            groups.setdefault((row["kind"], grouped), {}).setdefault(row["interval"], []),
        ):
            found.append(100 * float(row["coverage"]))
    counted = [["interval of", "made by", "scenarios", "below 92 %", "92 to 97 %", "above 97 %", "lowest"], ["---"] * 7]
    for (kind, name), found in held.items():
        below, above = (sum(value < 92 for value in found), sum(value > 97 for value in found))
        inside = len(found) - below - above
        counted.append(
            [kind, _bold(name), *(f"{number}" for number in (len(found), below, inside, above)), f"{min(found):.1f} %"]
        )
    by_group = [["interval of", "scenarios", "kws holds the truth in", "other ways"], ["---"] * 4]
    for (kind, grouped), found_by in groups.items():
        others = "; ".join(f"{name}: {_range(found)}" for name, found in found_by.items() if name != "kws")
        by_group.append([kind, grouped, f"**{_range(found_by['kws'])}**", others])
    return "\n\n".join("\n".join(f"| {' | '.join(line)} |" for line in table) for table in (counted, by_group))


def detection_rule() -> str:
    """The table of the rules of detection, from benchmarks/detection_rule.csv: a line for each case and rate."""
    with RULE.open(newline="", encoding="utf-8") as file:
        rows = {(row["case"], float(row["allowed"]), row["rule"]): row for row in csv.DictReader(file)}
    heads = ["test", "false alarms an hour allowed in validation", "in the test", "missed words", "more than before"]
    heads += ["missed before, at as many false alarms in the test"]
    heads += [f"of all words told within {name} s" for name in ("0.3", "0.5")]
    heads += [f"delay of the words that are heard{end}: median, 95 %" for end in ("", ", stricter end")]
    lines = [heads, ["---"] * len(heads)]
    for case, allowed in sorted({place[:2] for place in rows}):
        old, new = (rows[case, allowed, rule] for rule in ("before", "now"))
        cells = [
            f"{float(old[name]):{form}} → **{float(new[name]):{form}}** [{low:{form}}, {high:{form}}]"
            for name, form in (
                *(("false_alarms_an_hour", ".1f"), ("missed", ".1%")),
                *(("within_300_ms", ".1%"), ("within_500_ms", ".1%")),
            )
            for low, high in [[float(new[f"{name}_{end}"]) for end in ("low", "high")]]
        ]
        more, low, high = (100 * float(new[f"more_missed{end}"]) for end in ("", "_low", "_high"))
        cells[2:2] = [f"{more:+.1f} [{low:+.1f}, {high:+.1f}]", f"{float(new['before_missed_at_same']):.1%}"]
        cells += [" → ".join(_delay(row, prefix) for row in (old, new)) for prefix in ("", "strict_")]
        lines.append([f"*{case}*", f"{allowed:g}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def detection_sweep() -> str:
    """The table of other constants, from benchmarks/detection_rule_sweep.csv: a line for each number of windows.

    The pause is the one of the rule, a clip.
    """
    with RULE_SWEEP.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if float(row["apart_seconds"]) == 1.04]
    shown = {"balanced": (1, 5, 20), "best": (40, 80, 160), "fast": (40, 80, 160)}
    places = [(case, rate) for case in dict.fromkeys(row["case"] for row in rows) for rate in shown[case]]
    lines = [["windows held", "seconds", *(f"*{case}*, {rate} an hour" for case, rate in places)]]
    lines.append(["---"] * len(lines[0]))
    for held in sorted({int(row["held"]) for row in rows}):
        found = {(row["case"], float(row["allowed"])): row for row in rows if int(row["held"]) == held}
        cells = [f"{float(row['missed']):.1%} ({_delay(row)})" for row in (found[place] for place in places)]
        lines.append([f"{held}", f"{float(rows[0]['apart_seconds']) / int(rows[0]['apart']) * (held - 1):.2f}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def causal() -> str:
    """The table of causal networks and both front ends, from benchmarks/causal.csv: a line for each, of all seeds."""
    with CAUSAL.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [
        ["front end", "causal", "accuracy", "parameters", "bytes in 8 bits", "multiplications a second: sliding window"]
    ]
    lines[0].append("stream")
    lines.append(["---"] * len(lines[0]))
    counted = ("parameters", "int8_bytes", "sliding_multiplications_a_second", "stream_multiplications_a_second")
    for row in (row for row in rows if row["seed"] == "all"):
        counts = [f"{int(row[name]):,}" if row[name] else "" for name in counted]
        lines.append([f"`{row['front_end']}`", row["causal"], _with_interval(row), *counts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def wake_word() -> str:
    """The table of our wake words and the official ones in the same streams, from benchmarks/wake_word.csv."""
    with WAKE_WORD.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [["file", "stream of", "cutoff", "window", "words missed", "false alarms an hour", "delay: median, 95 %"]]
    lines.append(["---"] * len(lines[0]))
    for row in sorted(rows, key=lambda row: (row["file"], row["stream"])):
        missed = "nobody says it"
        if row["missed"]:
            missed = _percent(float(row["missed"]))
            missed += f" [{_percent(float(row['missed_low']))}, {_percent(float(row['missed_high']))}]"
        low, mean, high = (float(row[f"false_alarms_an_hour{end}"]) for end in ("_low", "", "_high"))
        delay = f"{float(row['delay_seconds']):.2f} s, {float(row['delay_95_seconds']):.2f} s" if row["missed"] else ""
        cells = [
            f"{float(row['cutoff']):.3f}",
            str(int(float(row["size"]))),
            missed,
            f"{mean:.1f} [{low:.1f}, {high:.1f}]",
        ]
        lines.append([row["file"], f"*{row['stream']}*, {float(row['hours']):g} h", *cells, delay])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def few_recordings() -> str:
    """The tables of few recordings, from benchmarks/few_recordings.csv: one for each case, one of all languages."""
    with FEW.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    whom = {"": "", "everybody_": ", all people"}
    shown = {
        "accuracy": "right",
        "rejection": "other words rejected",
        "probability_rejection": "rejected by probability",
    }
    parts = []
    for case, words in FEW_CASES.items():
        of_case = [row for row in rows if row["case"] == case]
        if of_case:
            figures = [
                (f"{prefix}{name}", f"{what}{people}")
                for name, what in shown.items()
                for prefix, people in whom.items()
                if of_case[0][f"{prefix}{name}"]  # a network that does not say whom it has heard has the second alone
            ]
            of_file = f"the file begins with {of_case[0]['embedding']} (SHA-256)"
            parts.append(
                f"{words}; {of_file}; {_asked_of(of_case[0])}:\n\n{_few_table(of_case, figures, 'voices_say')}"
            )
    parts += _preferred(rows)
    languages = [row for row in rows if row["speakers"] == "computed"]
    if languages:
        of_files = " or ".join(sorted({row["embedding"] for row in languages}))
        heard = f"Computed voices in place of people; the file begins with {of_files} (SHA-256):"
        parts.append(f"{heard}\n\n{_few_table(languages, list(shown.items()), 'case')}")
    return "\n\n".join(parts)


def _few_table(rows: list[dict[str, str]], figures: list[tuple[str, str]], first: str) -> str:
    """A line for each number of takes: a first column, then figures (name in the CSV, title) with their intervals."""
    heads = {"voices_say": "computed voices say", "case": "language"}
    lines = [[heads[first], "takes a word", *(title for _, title in figures), "rule of rejection"]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        shares = (
            f"{value:.1%} [{low:.1%}, {high:.1%}]"
            for value, low, high in (
                (float(row[f"{name}{end}"]) for end in ("", "_low", "_high")) for name, _ in figures
            )
        )
        lines.append([row[first], row["takes"], *shares, row["rule"]])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _asked_of(row: dict[str, str]) -> str:
    """How many are asked."""
    clips = f"{row['everybody_clips']} clips of {row['everybody_people']} people"
    asked = f"{clips}, and {row['everybody_other_clips']} of other words are asked"
    if not row["people"]:
        return f"{asked}; the network may have heard some of the people"
    strangers = f"{row['people']} people ({row['clips']} clips, and {row['other_clips']} of other words)"
    return f"{asked}; the embedding has not heard {strangers}"


def _preferred(rows: list[dict[str, str]]) -> list[str]:
    """What validation people prefer that voices say beside five takes: the mean of words right and others rejected."""
    of_case = [row for row in rows if (row["case"], row["takes"]) == ("seven and other words", "5")]
    if not of_case:
        return []
    means = {
        row["voices_say"]: statistics.mean(float(row[f"validation_{name}"]) for name in ("accuracy", "rejection"))
        for row in of_case
    }
    told = ", ".join(f"{said} {mean:.1%}" for said, mean in means.items())
    best = max(means, key=lambda said: means[said])
    asked = (
        "What should computed voices say beside five takes? The mean of words that are right and other words that are"
    )
    return [f"{asked} rejected, on validation people: {told}. Validation prefers *{best}*."]


def _delay(row: dict[str, str], prefix: str = "") -> str:
    """Median and 95th percentile of the delay; "none" where no word is heard."""
    median, most = (row[f"{prefix}{name}"] for name in ("delay_seconds", "delay_95_seconds"))
    return f"{float(median):.2f} s, {float(most):.2f} s" if median else "none"


def _bold(name: str) -> str:
    return f"**{name}**" if name == "kws" else name


def _range(found: list[float]) -> str:
    if len(found) == 1:
        return f"{found[0]:.1f} %"
    return f"{statistics.mean(found):.1f} % ({min(found):.0f} to {max(found):.0f})"


def speed() -> str:
    """The table of docs/speed.md, from benchmarks/speed.json and benchmarks/time_to_accuracy.csv."""
    measured = json.loads(RATIOS.read_text())
    ratios = measured["ratios"]
    lines = [["what", "ratio", "before"], ["---"] * 3]
    faster = "featurize against the stage before"
    for what, now in ratios.items():
        if what.startswith("floor: ") or what == faster or " before," in what:
            continue
        was = ratios.get(what.replace(", doing nothing", " before, doing nothing")) if "doing nothing" in what else None
        if what.startswith("featurize against") and faster in ratios:
            was = now / ratios[faster]
        lines.append([_plain(what, measured["sections"]["growth"]["clips"]), f"{now:.2f}", f"{was:.2f}" if was else ""])
    with TIME_TO_ACCURACY.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        group = [row for row in rows if row["recipe"] == recipe]
        cpu = {row["seed"]: float(row["cpu_seconds"]) for row in group}
        original = {row["seed"]: float(row["cpu_seconds"]) for row in rows if row["recipe"] == "original"}
        ratio = statistics.mean(cpu[seed] / original[seed] for seed in cpu)
        accuracy = statistics.mean(float(row["validation_accuracy"]) for row in group)
        epochs = ", ".join(row["epochs"] for row in group)
        lines.append(
            [f"CPU time, {recipe} recipe ({epochs} epochs; validation accuracy {accuracy:.1%})", f"{ratio:.2f}", ""]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n*Before* is commit {measured['before']}."


def _plain(what: str, sizes: list[int]) -> str:
    """The label of a ratio in benchmarks/speed.json, in words that need no explanation.

    Args:
        what: the label.
        sizes: numbers of clips for which growth was measured, the smallest first.
    """
    for label, words in SPEED_WORDS.items():
        what = what.replace(label, words)
    return what.format(fewest=sizes[0], middle=sizes[len(sizes) // 2], most=sizes[-1])


def _block(output: str) -> str:
    return f"```\n{output.strip()}\n```"


if __name__ == "__main__":
    main()
