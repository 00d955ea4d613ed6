"""Stands for `dvc` in the tests of sweeps: a training without a network, whose accuracy follows from the parameters.

`dvc repro train` writes what stage train would: an epoch each KWS_PRETEND_SECONDS, which the training curve tells. The
accuracy grows to 1 - label_smoothing. A learning rate above 0.5 fails.
"""

import csv
import json
import os
import sys
import time
from pathlib import Path

import yaml


def train() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    with Path(os.environ["DVC_ROOT"], "trained.txt").open("a") as file:  # what has begun, in the project itself
        file.write(f"{os.environ['DVC_EXP_NAME']} {os.getpid()}\n")
    if params["learning_rate"] > 0.5:
        print("a line\nerror: epoch 1: the validation loss is nan; lower learning_rate")
        print("ERROR: failed to reproduce\nHaving any troubles?")
        sys.exit(1)
    rows = []
    for epoch in range(1, params["epochs"] + 1):
        time.sleep(float(os.environ.get("KWS_PRETEND_SECONDS", "0")))
        accuracy = round((1 - params["label_smoothing"]) * epoch / params["epochs"], 6)
        rows.append(
            {
                "epoch": epoch,
                "train_loss": 1.0,
                "train_accuracy": 0.5,
                "validation_loss": 1 - accuracy,
                "validation_accuracy": accuracy,
            }
        )
        with Path(os.environ["KWS_CURVE"]).open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    for folder in ("metrics", "plots/train", "data/raw", "data/features"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    figures = {"epochs": len(rows), "best_epoch": len(rows), **{k: v for k, v in rows[-1].items() if k != "epoch"}}
    Path("metrics/train.json").write_text(json.dumps(figures))
    with Path("plots/train/history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pretended = Path(os.environ["DVC_ROOT"]) / "pretended"
    for name, target in (("source.json", "data/raw"), ("spec.json", "data/features")):
        Path(target, name).write_text((pretended / name).read_text())


match sys.argv[1:]:
    case ["repro", *_, "train"]:
        train()
    case ["exp", "push", "--force", "--run-cache", "origin", name]:
        time.sleep(float(os.environ.get("KWS_PRETEND_SECONDS", "0")))
        with Path(os.environ["KWS_PRETEND_PUSHED"]).open("a") as file:
            file.write(f"{name}\n")
    case other:
        sys.exit(f"ERROR: not pretended: dvc {other}")
