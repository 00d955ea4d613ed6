"""Clips, parameters and files as they should not be, through the stages as they are run."""

import csv
import io
import itertools
import json
import os
import runpy
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import read_json
from kws.recordings.clips import SPLITS, speaker_split
from kws.records.spec import FeatureSpec

STAGES = ["download", "featurize", "train", "evaluate", "export", "project"]
WORDS = ["no", "yes"]
RATE = 16_000
SOUND = np.random.default_rng(1).normal(scale=0.1, size=5 * RATE).clip(-1, 1).astype(np.float32)


def wav(samples: np.ndarray = SOUND[:RATE], rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


ODD = {  # name: data, samples at 16 kHz
    "stereo.wav": (wav(np.stack([SOUND[:RATE]] * 2, axis=1)), RATE),
    "8 bit.wav": (wav(subtype="PCM_U8"), RATE),
    "24 bit.wav": (wav(subtype="PCM_24"), RATE),
    "32 bit.wav": (wav(subtype="PCM_32"), RATE),
    "float.wav": (wav(subtype="FLOAT"), RATE),
    "8 kHz.wav": (wav(SOUND[:8000], 8000), RATE),
    "44.1 kHz.wav": (wav(SOUND[:44_100], 44_100), RATE),
    "0.2 s.wav": (wav(SOUND[:3200]), 3200),
    "5 s.wav": (wav(SOUND), 5 * RATE),
    "twice.wav.wav": (wav(), RATE),
}
UNUSABLE = {  # name: data, reason
    "empty.wav": (b"", "empty file"),
    "cut in its header.wav": (wav()[:20], "not audio: "),
    "without samples.wav": (wav(SOUND[:0]), "no samples"),
    "silent.wav": (wav(np.zeros(RATE)), "silent: every sample is zero"),
    "a text.wav": (b"this is a text, not a recording", "not audio: "),
}


@pytest.fixture(autouse=True)
def _in_a_project_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("KWS_TRACKING", "off")


def pack(archive: str, clips: dict[str, bytes]) -> None:
    with tarfile.open(archive, "w") as tar:
        for name, data in clips.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def featurize(write_params) -> Callable[..., None]:
    """Packs these clips, and those of a test data set if given, then runs download and featurize on them."""

    def run(clips: dict[str, bytes], tested: dict[str, bytes] | None = None, **changes: object) -> None:
        pack("mine.tar", clips)
        if tested is not None:
            pack("theirs.tar", tested)
            changes["test_dataset"] = "theirs.tar"
        write_params(**{"dataset": "mine.tar", "words": WORDS, **changes})
        for stage in ("download", "featurize"):
            runpy.run_path(str(ROOT / "stages" / f"{stage}.py"))["main"]()

    return run


def speaker(split: str) -> str:
    """A name that belongs to this split."""
    return next(name for n in itertools.count() if speaker_split(name := f"{n:03d}") == split)


def good_clips() -> dict[str, bytes]:
    """A clip of every word in every split."""
    return {f"{word}/{speaker(split)}_nohash_0.wav": wav() for word in WORDS for split in SPLITS}


def of_a_speaker_in_training(clips: dict[str, tuple[bytes, object]]) -> dict[str, bytes]:
    return {f"yes/{speaker('train')}_nohash_{name}": data for name, (data, _) in clips.items()}


def records(split: str) -> dict[str, np.ndarray]:
    """The log-Mel features of each clip of a split, by name."""
    from kws.records.read import read_split

    batches = read_split(paths.FEATURES, split, FeatureSpec.read(paths.SPEC), 100).as_numpy_iterator()
    return {n.decode(): x[..., 0] for batch in batches for n, x in zip(batch["name"], batch["log_mel"], strict=True)}


def test_odd_clips_are_used_and_unusable_ones_set_aside_with_their_reason(featurize, capsys):
    good, odd, unusable = good_clips(), of_a_speaker_in_training(ODD), of_a_speaker_in_training(UNUSABLE)
    featurize(good | odd | unusable, max_unusable_share=0.25)
    with paths.MANIFEST.open(encoding="utf-8", newline="") as file:
        manifest = {row["name"]: row for row in csv.DictReader(file)}
    assert set(manifest) == set(good | odd | unusable)
    for name, (_, samples) in zip(odd, ODD.values(), strict=True):
        row = manifest[name]
        assert (row["status"], row["reason"], row["samples"]) == ("ok", "", str(samples)), name
    for name, (_, reason) in zip(unusable, UNUSABLE.values(), strict=True):
        assert manifest[name]["status"] == "set aside"
        assert manifest[name]["reason"].startswith(reason), name
    used = records("train")
    assert set(used) == set(odd) | {name for name in good if manifest[name]["split"] == "train"}
    assert "5 more were set aside" in capsys.readouterr().out

    plain = used[next(name for name in used if name in good)]
    for name in ("stereo.wav", "24 bit.wav", "32 bit.wav", "float.wav", "5 s.wav", "twice.wav.wav"):
        np.testing.assert_allclose(used[f"yes/{speaker('train')}_nohash_{name}"], plain, atol=0.1, err_msg=name)


def test_a_test_data_set_other_words_and_silence_go_through_the_stages(featurize):
    own = good_clips() | {f"cat/{speaker(split)}_nohash_0.wav": wav() for split in SPLITS}
    tested = {f"{word}/tom_nohash_0.wav": wav(SOUND[-RATE:]) for word in (*WORDS, "bird", "_silence_", "_unknown_")}
    tested |= {"_silence_/quiet_nohash_0.wav": wav(np.zeros(RATE))}
    featurize(own, tested, unknown=1.0, silence=1e-3, max_unusable_share=0.1)
    with paths.MANIFEST.open(encoding="utf-8", newline="") as file:
        manifest = list(csv.DictReader(file))
    assert {(row["word"], row["class"], row["split"]) for row in manifest} == {
        *((word, word, split) for word in WORDS for split in SPLITS),
        *(("cat", "_unknown_", split) for split in ("train", "validation")),
        *(("_silence_", "_silence_", split) for split in SPLITS),
        ("_unknown_", "_unknown_", "test"),
        ("bird", "_unknown_", "unheard"),
    }
    spec = FeatureSpec.read(paths.SPEC)
    assert spec.classes == [*WORDS, "_unknown_", "_silence_"]
    assert spec.clips == {"train": 4, "validation": 4, "test": 4, "unheard": 1}
    assert read_json(paths.METRICS / "featurize.json") == spec.clips | {"set_aside": 1}
    for split, name, sound in (
        ("train", f"no/{speaker('train')}_nohash_0.wav", SOUND[:RATE]),
        ("test", "no/tom_nohash_0.wav", SOUND[-RATE:]),
        ("unheard", "bird/tom_nohash_0.wav", SOUND[-RATE:]),
    ):
        np.testing.assert_allclose(records(split)[name], spec.front_end.log_mel(sound), atol=0.1)


def test_too_many_unusable_clips_are_an_error_that_leaves_no_features(featurize):
    with pytest.raises(UserError, match=r"^5 of 11 clips are unusable \(1 x empty file, .*0\.4$"):
        featurize(good_clips() | of_a_speaker_in_training(UNUSABLE), max_unusable_share=0.4)
    assert [path.name for path in Path("data").iterdir() if path.is_dir()] == ["raw"]


@pytest.mark.parametrize("data", [None, b""], ids=["absent", "unusable"])
@pytest.mark.parametrize("split", SPLITS)
def test_a_word_without_a_usable_clip_in_a_split_is_an_error_that_leaves_no_features(featurize, split, data):
    clips = good_clips()
    name = f"no/{speaker(split)}_nohash_0.wav"
    clips.pop(name)
    with pytest.raises(UserError, match=f"^no usable clip of no in {split}: add clips of more speakers, or take split"):
        featurize(clips if data is None else clips | {name: data}, max_unusable_share=0.5)
    assert [path.name for path in Path("data").iterdir() if path.is_dir()] == ["raw"]


RUN_STAGES = """
import contextlib, io, json, runpy, sys
scripts, arguments = json.loads(sys.argv[1])
results = []
for script in scripts:
    sys.argv, out, err, code = [script, *arguments], io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = end.code
    results.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(results))
"""


@pytest.fixture
def try_stages(tmp_path) -> Callable[..., list[tuple[int | str, str, str]]]:
    """Runs all stages where TensorFlow and MLflow cannot be imported: what each exits with, its stdout and stderr.

    One after the other in one process, since most of what they need is to import NumPy, SciPy and Matplotlib.
    """
    for module in ("tensorflow", "keras", "mlflow"):
        (tmp_path / "forbidden").mkdir(exist_ok=True)
        (tmp_path / "forbidden" / f"{module}.py").write_text(f"raise AssertionError('{module} was imported')\n")

    def run(*arguments: str) -> list[tuple[int | str, str, str]]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "forbidden"), str(ROOT / "src")])}
        scripts = [str(ROOT / "stages" / f"{stage}.py") for stage in STAGES]
        command = [sys.executable, "-c", RUN_STAGES, json.dumps([scripts, arguments])]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert result.stderr == ""
        return json.loads(result.stdout)

    return run


def test_every_stage_refuses_bad_parameters_in_one_line_before_tensorflow_is_imported(try_stages, write_params):
    write_params(mel_bins=300)
    for stage, (code, stdout, stderr) in zip(STAGES, try_stages(), strict=True):
        assert (stdout, stderr) == ("", ""), stage
        assert code.startswith("error: params.yaml: mel_bins: 300 leaves "), stage  # Python prints it, and exits with 1
        assert "\n" not in code, stage
    assert sorted(path.name for path in Path().iterdir()) == ["forbidden", "params.yaml"]


def test_every_stage_has_help_without_tensorflow(try_stages):
    for stage, (code, stdout, stderr) in zip(STAGES, try_stages("--help"), strict=True):
        assert (code, stderr) == (0, ""), stage
        assert f"\n{stage}: " in stdout


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        ("featurize", "data/raw/source.json"),
        ("train", "data/features/spec.json"),
        ("evaluate", "models/network.tflite"),
        ("project", "data/answers.npz"),
    ],
)
def test_a_stage_without_its_input_says_in_one_line_what_is_missing(stage, missing, write_params, monkeypatch):
    write_params()
    monkeypatch.setattr(sys, "argv", [f"{stage}.py"])
    with pytest.raises(SystemExit, match=f"^error: {missing} is not here: run dvc repro"):
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="__main__")
    assert not paths.METRICS.exists()
