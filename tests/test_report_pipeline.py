"""The report of real changes, and the verdict of the gate: one that helps, one that does nothing, one that harms."""

import sys

import pytest
from checkout import Project

WORDS = ["down", "go", "no", "yes"]
VOICES = {"words": WORDS, "synthetic_speakers": 100, "width": 0.5}  # 40 validation clips of 10 voices
UNTRAINED = VOICES | {"epochs": 1, "learning_rate": 1e-7}  # it answers by chance
TRAINED = VOICES | {"epochs": 20, "patience": 20}


@pytest.fixture(scope="module")
def project(environment, tmp_path_factory) -> Project:
    """A project with branches of an untrained network, of a trained one, and of the trained one in another picture."""
    project = Project.create(tmp_path_factory.mktemp("report") / "project", environment)
    for branch, params in (("untrained", UNTRAINED), ("trained", TRAINED), ("drawn", TRAINED | {"umap_neighbors": 3})):
        project.set(**params)
        project.run("dvc", "repro", "export", KWS_TRACKING="off")
        project.run("git", "checkout", "--quiet", "-b", branch)
        project.commit()
    return project


@pytest.mark.parametrize(
    ("before", "now", "code", "verdict"),
    [
        ("untrained", "trained", 0, "it is better: +"),
        ("trained", "drawn", 0, "it is not known to differ: +0.00 points"),
        ("trained", "untrained", 1, "the change is significantly worse: -"),
    ],
    ids=["helps", "nothing", "harms"],
)
def test_the_gate_stops_what_harms_and_nothing_else(project, before, now, code, verdict):
    project.run("git", "checkout", "--quiet", now)
    project.run("dvc", "checkout", "--quiet", "--allow-missing")  # project never ran
    ended, printed = project.try_to(sys.executable, "-m", "kws.commands.report", before, GATE="1", PYTHONPATH="src")
    assert ended == code, printed
    assert verdict in printed.splitlines()[-1]
    text = (project.root / "plots" / "report" / "report.md").read_text()
    assert "These are not the results" not in text
    assert f"| `{'umap_neighbors' if now == 'drawn' else 'epochs'}` |" in text
    assert "| `kws_int8.tflite` | multiplications |" in text
