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
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from encode import sound_file, tone

from kws.core import paths
from kws.core import stage as stages
from kws.core.errors import UserError
from kws.core.files import read_json
from kws.download.voices import synthetic
from kws.plots import figures
from kws.recordings.clips import SPLITS, UNHEARD, Clip, read_clips
from kws.recordings.people import speaker_split
from kws.records.spec import FeatureSpec

STAGES = ["watch", "download", "featurize", "train", "evaluate", "export", "project"]
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


OTHER_SPEECH = {f"_other_speech_/{split}.wav" for split in UNHEARD}


@pytest.fixture
def featurize(write_params, monkeypatch) -> Callable[..., None]:
    """Packs these clips, and those of a test data set if given, then runs download and featurize on them.

    Computed voices say one other word for each of validation and test.
    """

    def write_other_speech(target: Path, *_: object) -> list[Clip]:
        names = {f"_other_speech_/{split}.wav": split for split in UNHEARD}
        pack(str(target), dict.fromkeys(names, wav()))
        return [Clip(name, "camera", f"computed-{split}", split) for name, split in names.items()]

    monkeypatch.setattr(synthetic, "write_other_speech", write_other_speech)

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


def good_clips(*words: str) -> dict[str, bytes]:
    """A clip of every word in every split, each with a sound of its own: copies would be in one split."""
    names = [f"{word}/{speaker(split)}_nohash_0.wav" for word in words or WORDS for split in SPLITS]
    return {name: wav(np.roll(SOUND, -1000 * (1 + zlib.crc32(name.encode()) % 60))[:RATE]) for name in names}


def of_a_speaker_in_training(clips: dict[str, tuple[bytes, object]]) -> dict[str, bytes]:
    return {f"yes/{speaker('train')}_nohash_{name}": data for name, (data, _) in clips.items()}


def records(split: str) -> dict[str, np.ndarray]:
    """The log-Mel features of each clip of a split, by name."""
    from kws.records.read import read_split

    batches = read_split(paths.FEATURES, split, FeatureSpec.read(paths.SPEC), 100).as_numpy_iterator()
    return {n.decode(): x[..., 0] for batch in batches for n, x in zip(batch["name"], batch["log_mel"], strict=True)}


def test_odd_clips_are_used_and_unusable_ones_set_aside_with_their_reason(featurize, capsys):
    plain_name = f"yes/{speaker('train')}_nohash_0.wav"
    good = good_clips() | {plain_name: wav()}
    odd, unusable = of_a_speaker_in_training(ODD), of_a_speaker_in_training(UNUSABLE)
    featurize(good | odd | unusable, max_unusable_share=0.25, cut="start")
    with paths.MANIFEST.open(encoding="utf-8", newline="") as file:
        manifest = {row["name"]: row for row in csv.DictReader(file)}
    assert set(manifest) == set(good | odd | unusable) | OTHER_SPEECH
    for name, (_, samples) in zip(odd, ODD.values(), strict=True):
        row = manifest[name]
        assert (row["status"], row["reason"], row["samples"]) == ("ok", "", str(samples)), name
        assert (row["recording"], row["start"]) == (name, "0")
    for name, (_, reason) in zip(unusable, UNUSABLE.values(), strict=True):
        assert manifest[name]["status"] == "set aside"
        assert manifest[name]["reason"].startswith(reason), name
    used = records("train")
    assert set(used) == set(odd) | {name for name in good if manifest[name]["split"] == "train"}
    lines = capsys.readouterr().out.splitlines()
    first, second = (f"yes/{speaker('train')}_nohash_{name}.wav" for name in ("cut in its header", "a text"))
    assert lines[lines.index(f"set aside, empty file: 1 (yes/{speaker('train')}_nohash_empty.wav)") :] == [
        f"set aside, empty file: 1 (yes/{speaker('train')}_nohash_empty.wav)",
        f"set aside, no samples: 1 (yes/{speaker('train')}_nohash_without samples.wav)",
        f"set aside, not audio: 2 ({first}, {second})",
        f"set aside, silent: 1 (yes/{speaker('train')}_nohash_silent.wav)",
        f"at the edge: 1 (yes/{speaker('train')}_nohash_0.2 s.wav)",
        f"cut from a longer recording: 1 (yes/{speaker('train')}_nohash_5 s.wav)",
        "data/features/manifest.csv names them all",
    ]
    assert read_json(paths.METRICS / "featurize.json")["set_aside"] == 5

    plain = used[plain_name]
    for name in ("stereo.wav", "24 bit.wav", "32 bit.wav", "float.wav", "5 s.wav", "twice.wav.wav"):
        np.testing.assert_allclose(used[f"yes/{speaker('train')}_nohash_{name}"], plain, atol=0.1, err_msg=name)


def test_a_test_data_set_other_words_and_silence_go_through_the_stages(featurize):
    own = good_clips(*WORDS, "cat")
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
        ("bird", "_unknown_", "unheard_test"),
        ("camera", "_unknown_", "unheard_validation"),  # computed voices, since only cat is left
    }
    spec = FeatureSpec.read(paths.SPEC)
    assert spec.classes == [*WORDS, "_unknown_", "_silence_"]
    assert spec.clips == {"train": 4, "validation": 4, "test": 5, "unheard_validation": 1, "unheard_test": 1}
    assert read_json(paths.METRICS / "featurize.json") == spec.clips | {"set_aside": 0}
    # Silence may be silent
    assert {row["name"]: row["status"] for row in manifest}["_silence_/quiet_nohash_0.wav"] == "ok"
    for split, name, sound in (
        (
            "train",
            train := f"no/{speaker('train')}_nohash_0.wav",
            soundfile.read(io.BytesIO(own[train]), dtype="float32")[0],
        ),
        ("test", "no/tom_nohash_0.wav", SOUND[-RATE:]),
        ("unheard_test", "bird/tom_nohash_0.wav", SOUND[-RATE:]),
    ):
        np.testing.assert_allclose(records(split)[name], spec.front_end.log_mel(sound), atol=0.1)


def test_too_many_unusable_clips_are_an_error_that_leaves_no_features(featurize):
    unusable = of_a_speaker_in_training(UNUSABLE)
    with pytest.raises(UserError, match=r"^5 of 11 clips are unusable \(2 x not audio, 1 x empty file, ") as refused:
        featurize(good_clips() | unusable, max_unusable_share=0.4)
    assert [path.name for path in Path("data").iterdir() if path.is_dir()] == ["raw"]
    message = str(refused.value)
    kept = Path(".scratch/featurize/unusable.csv").resolve()
    assert message.endswith(f"max_unusable_share allows: 0.4; the first are {', '.join(unusable)}; {kept} has them all")
    with kept.open(encoding="utf-8", newline="") as file:
        listed = {row["recording"]: row["reason"] for row in csv.DictReader(file)}
    assert listed.keys() == unusable.keys()
    for name, (_, reason) in zip(unusable, UNUSABLE.values(), strict=True):
        assert listed[name].startswith(reason)


def late(rate: int = 44_100, seconds: float = 2.0, starts: tuple[float, ...] = (1.2,)) -> np.ndarray:
    """A stereo recording of a phone: faint noise, and something as short as a word at these times."""
    samples = np.random.default_rng(2).normal(scale=1e-3, size=(round(seconds * rate), 2))
    for start in starts:
        samples[round(start * rate) :][: round(0.4 * rate)] += 0.3 * tone(rate, 0.4, 500)[:, None]
    return samples


def manifest() -> dict[str, dict[str, str]]:
    with paths.MANIFEST.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_recordings_of_phones_go_through_the_stages_and_what_was_done_to_them_is_said(featurize, capsys):
    train = f"yes/{speaker('train')}_nohash_"
    phone = {
        f"{train}memo.m4a": sound_file("m4a", late(), 44_100),
        f"{train}browser.webm": sound_file("webm", late(48_000), 48_000),
        f"{train}phone.amr": sound_file("amr", late(8000)[:, 0], 8000),
        f"{train}named.wav": sound_file("aac", late(), 44_100),
        f"{train}inverted.wav": wav(late()[:, :1] * [1, -0.95], 44_100),
        f"{train}scale.wav": wav(30_000 * late(), 44_100, "FLOAT"),
        f"{train}edge.wav": wav(late(16_000, 1.0, (0.6,)), 16_000),
    }
    background = {
        "_background_noise_/cafe/1.m4a": sound_file("m4a", SOUND, RATE),
        "_background_noise_/street/1.wav": b"",
    }
    featurize(good_clips() | phone | background)
    rows = manifest()
    assert {rows[name]["status"] for name in phone} == {"ok"}
    for name in list(phone)[:-1]:
        assert float(rows[name]["start"]) == pytest.approx(1.0, abs=0.1), name  # centred, but a second is the most
        heard = records("train")[name].max(axis=1)
        assert heard.argmax() > 5, name
    mended = {name.removeprefix(train): rows[name]["remarks"] for name in phone}
    longer = "cut from a longer recording"
    at_edge = "at the edge: the word is cut off, or starts or ends with the clip"
    assert mended == {
        **dict.fromkeys(("memo.m4a", "browser.webm", "phone.amr", "named.wav"), longer),
        "inverted.wav": f"channel 1 of 2 alone: the channels cancel each other; {longer}",
        "scale.wav": f"divided by 32768: floats in the range of integers; {longer}",
        "edge.wav": at_edge,
    }
    printed = capsys.readouterr().out.splitlines()
    assert f"at the edge: 1 ({train}edge.wav)" in printed
    assert f"divided by 32768: 1 ({train}scale.wav)" in printed
    assert f"channel 1 of 2 alone: 1 ({train}inverted.wav)" in printed
    assert "background _background_noise_/street/1.wav: not used: empty file" in printed


def test_takes_of_one_recording_become_clips_of_their_own(featurize):
    name = f"yes/{speaker('train')}_nohash_takes.wav"
    featurize(good_clips() | {name: wav(late(16_000, 6.0, (0.4, 2.0, 4.9)))}, cut="takes")
    rows = [row for row in manifest().values() if row["recording"] == name]
    assert [row["name"] for row in rows] == [name, f"{name}#2", f"{name}#3"]
    assert [float(row["start"]) for row in rows] == pytest.approx([0.1, 1.7, 4.6], abs=0.1)
    assert {*rows[0], *records("train")} >= {f"{name}#2", f"{name}#3"}


def test_without_the_decoder_of_phones_recordings_what_is_missing_is_said(featurize, monkeypatch):
    memo = {f"yes/{speaker('train')}_nohash_memo.m4a": sound_file("m4a", late(), 44_100)}
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"^1 of 7 clips are unusable \(1 x MP4, M4A or 3GP \(AAC, ALAC, AMR\) needs"):
        featurize(good_clips() | memo)


@pytest.mark.parametrize("data", [None, b""], ids=["absent", "unusable"])
@pytest.mark.parametrize("split", SPLITS)
def test_a_word_without_a_usable_clip_in_a_split_is_an_error_that_leaves_no_features(featurize, split, data):
    clips = good_clips()
    name = f"no/{speaker(split)}_nohash_0.wav"
    clips.pop(name)
    lacking = "validation" if data is None else split  # of two clips known before, one is for the test
    with pytest.raises(
        UserError, match=rf"^no usable clip of no in {lacking} \(2 recordings in all\): record more, by as many"
    ):
        featurize(clips if data is None else clips | {name: data}, max_unusable_share=0.5)
    assert [path.name for path in Path("data").iterdir() if path.is_dir()] == ["raw"]


def test_two_people_make_three_splits_and_copies_are_set_aside_with_their_reason(featurize, monkeypatch, capsys):
    by_content = {"yes/ada/0.wav": "d", "yes/bob/0.wav": "d"}

    def with_contents(path: Path) -> list[Clip]:
        return [replace(clip, content=by_content.get(clip.name, "")) for clip in clips_in(path)]

    clips_in = read_clips
    monkeypatch.setattr("kws.recordings.clips.read_clips", with_contents)
    clips = {f"{word}/{name}/{take}.wav": wav() for word in WORDS for name in ("ada", "bob") for take in range(4)}
    featurize(clips)
    with paths.MANIFEST.open(encoding="utf-8", newline="") as file:
        manifest = {row["name"]: row for row in csv.DictReader(file)}
    assert set(manifest) == set(clips) | OTHER_SPEECH
    [aside] = [row for row in manifest.values() if row["status"] == "set aside"]
    other = next(name for name in by_content if name != aside["name"])
    assert (aside["split"], aside["class"], aside["reason"]) == ("", "yes", f"copy: of {other}, which is in test")
    counts = {"train": 5, "validation": 2, "test": 8, "unheard_validation": 1, "unheard_test": 1, "set_aside": 0}
    assert read_json(paths.METRICS / "featurize.json") == counts
    printed = capsys.readouterr().out
    assert "1 clip is a copy of another (yes/bob/0.wav of yes/ada/0.wav): 1 left out, since a copy is in" in printed
    assert "2 validation clips of no, yes are of people who are in another split, too (too few people say" in printed


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


def beside_people(monkeypatch, words_for_all: dict[str, list[str]], sound: bytes) -> None:
    """Computed voices say these words with this sound, one voice a split."""

    def write_beside(target: Path, *_: object) -> list[Clip]:
        clips = [
            Clip(f"_computed_/{word}/computed-{split}-0000_nohash_0.wav", word, f"computed-{split}-0000", split)
            for split, words in words_for_all.items()
            for word in words
        ]
        pack(str(target), {clip.name: sound for clip in clips})
        return clips

    monkeypatch.setattr(synthetic, "write_beside", write_beside)


def test_clips_of_computed_voices_are_featurized_and_told_apart(featurize, monkeypatch, capsys):
    titles: list[str] = []
    voices_title = stages.voices_title
    for module in (stages, figures):
        monkeypatch.setattr(module, "voices_title", lambda *told: titles.append(voices_title(*told)) or titles[-1])
    beside_people(monkeypatch, {"train": [*WORDS, "kettle"], "validation": ["kettle"], "test": ["kettle"]}, wav())
    featurize(good_clips(), words=[*WORDS, "kettle"], computed_voices=1)
    made = {f"_computed_/{word}/computed-train-0000_nohash_0.wav" for word in (*WORDS, "kettle")}
    assert {name for name in records("train") if name.startswith("_computed_/")} == made
    assert "_computed_/kettle/computed-test-0000_nohash_0.wav" in records("test")
    told = read_json(paths.METRICS / "featurize.json")
    assert {name: told[name] for name in told if name.startswith("computed")} == {
        "computed_train": 3,
        "computed_validation": 1,
        "computed_test": 1,
    }
    assert (
        "of computed voices: 3 train, 1 validation, 1 test; in validation or test nobody else"
        in capsys.readouterr().out
    )
    assert titles == ["Log-Mel spectrograms (partly synthetic voices)", titles[1]]
    assert titles[1] in WORDS  # the single picture is of a person


def test_clips_of_computed_voices_count_for_no_share_of_unusable_clips(featurize, monkeypatch, capsys):
    beside_people(monkeypatch, {"train": [*WORDS, *(f"word{n}" for n in range(90))]}, b"")
    featurize(good_clips(), max_unusable_share=0.0, computed_voices=1)
    assert read_json(paths.METRICS / "featurize.json")["set_aside"] == len(WORDS)
    assert "set aside, empty file: 2 (_computed_/no/" in capsys.readouterr().out  # nothing is lost in silence
