"""Writes the README's figures from the files that the pipeline and the benchmark wrote: `make readme`."""

import csv
import statistics
from pathlib import Path

from kws.files import written_whole
from kws.summary import summary

README = Path("README.md")
TABLE = Path("benchmarks/original_recipe.csv")
EXPERIMENT = Path("docs/exp-run.txt")  # what `dvc exp show` and `dvc metrics diff` printed
PROTOTYPES = {
    "original ten": "87.3 %",
    "eight": "88.3 %",
    "ten": "86.6 %",
}  # of the same recipe, means of 2, 2 and 3 seeds


def main() -> None:
    """Replaces what stands between the marks."""
    text = README.read_text(encoding="utf-8")
    for name, content in {
        "summary": _block(summary()),
        "exp": _block(EXPERIMENT.read_text()),
        "table": table(),
    }.items():
        before, _, after = text.partition(f"<!-- {name} -->")
        text = f"{before}<!-- {name} -->\n{content}\n<!-- end -->" + after.partition("<!-- end -->")[2]
    with written_whole(README) as partial:
        partial.write_text(text, encoding="utf-8")


def table() -> str:
    """The table of the original recipe, from benchmarks/original_recipe.csv."""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    seeds = sorted({row["seed"] for row in rows})
    heads = ["words", "split", "clips", *(f"seed {seed}" for seed in seeds), "mean", "prototype"]
    lines = [heads, ["---"] * len(heads)]
    for selection in dict.fromkeys(row["selection"] for row in rows):
        own = [row for row in rows if row["selection"] == selection]
        accuracies = [float(row["accuracy"]) for row in own]
        cells = [
            f"{float(r['accuracy']):.1%} [{float(r['accuracy_low']):.1%}, {float(r['accuracy_high']):.1%}]" for r in own
        ]
        clips = f"{own[0]['train_clips']} train, {own[0]['test_clips']} test"
        mean = f"**{statistics.mean(accuracies):.1%}**"
        lines.append([selection, own[0]["split"], clips, *cells, mean, PROTOTYPES[selection]])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _block(output: str) -> str:
    return f"```\n{output.strip()}\n```"


if __name__ == "__main__":
    main()
