"""What a short training on a few recordings of people is worth: a floor under all that leads to an accuracy."""

import runpy
import tarfile
from pathlib import Path

import pytest
from conftest import RECORDINGS, ROOT, needs_recordings

from kws.core import paths
from kws.core.files import read_json
from kws.core.params import read_yaml
from kws.evaluate import scores
from kws.evaluate.network import EvaluatedNetwork
from kws.recordings.people import speaker_split
from kws.records.spec import FeatureSpec

CLIPS = {"train": 20, "validation": 20, "test": 40}  # of each word, each of another speaker
WORDS = ["down", "go", "left", "no", "right", "stop", "up", "yes"]
SHORT = {"width": 1.0, "epochs": 40, "batch_size": 16, "warmup_epochs": 4}
FLOOR = 0.68  # clips of other Mel edges than those of training have 0.58


def write_recordings(target: Path) -> None:
    """An archive of the first clips of each word in each split, nobody's voice twice in a word."""
    with tarfile.open(target, "w") as out:
        for word in WORDS:
            left, heard = dict(CLIPS), set()
            with tarfile.open(RECORDINGS / "clips" / "mini" / f"{word}.tar") as clips:
                for member in clips:
                    speaker = member.name.split("_")[0]
                    split = speaker_split(speaker)
                    if speaker not in heard and left[split]:
                        heard.add(speaker)
                        left[split] -= 1
                        sound = clips.extractfile(member)
                        member.name = f"{word}/{member.name}"
                        out.addfile(member, sound)


@pytest.fixture
def project(tmp_path, monkeypatch, write_params):
    """A project in which the stages can run by hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("KWS_TRACKING", "off")
    write_recordings(tmp_path / "few.tar")
    write_params(**read_yaml(ROOT / "presets" / "fast.yaml") | SHORT | {"dataset": "few.tar", "words": WORDS})


@needs_recordings
@pytest.mark.usefixtures("project")
def test_twenty_clips_a_word_are_enough_to_tell_words_of_people_apart():
    """Four seeds gave 0.79 to 0.84 in validation, and 0.77 to 0.81 in the test. Chance is 0.125."""
    for stage in ("download", "featurize", "train"):
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"))["main"]()
    spec = FeatureSpec.read(paths.SPEC)
    assert [spec.clips[split] for split in CLIPS] == [clips * len(WORDS) for clips in CLIPS.values()]
    assert read_json(paths.METRICS / "train.json")["validation_accuracy"] > FLOOR
    answers = scores.answer_clips(EvaluatedNetwork(paths.NETWORK, threads=2), paths.FEATURES, "test", spec)
    assert (answers.predicted == answers.labels).mean() > FLOOR
