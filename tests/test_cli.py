import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import EVALUATED, FRONT_END, ROOT, tone
from encode import sound_file

from kws.export import flatbuffer
from kws.export.detection import detection
from kws.spotting import cli

WORDS = [0, 0, 300, 0, 0, 3000, 0, 0]  # Hz, one a second: low after two seconds, high after five


@pytest.fixture
def recordings(tmp_path, monkeypatch) -> Path:
    """The folder that `kws` is started in: clips in several formats, a long file, and what is no sound."""
    monkeypatch.chdir(tmp_path)
    stereo = np.stack([1.2 * tone(300, 44_100), 0.8 * tone(300, 44_100)], axis=1)
    soundfile.write("stereo.wav", stereo, 44_100)
    Path("folder/deeper").mkdir(parents=True)
    soundfile.write("folder/b.flac", tone(3000, 48_000), 48_000)
    soundfile.write("folder/deeper/a.ogg", tone(300, 22_050), 22_050)
    soundfile.write("folder/c.mp3", 2e-5 * np.random.default_rng(0).normal(size=16_000), 16_000)
    Path("folder/notes.txt").write_text("no sound")
    soundfile.write("long.wav", np.concatenate([tone(hertz, 22_050) for hertz in WORDS]), 22_050)
    Path("empty.wav").touch()
    Path("text.wav").write_text("this is a text\n" * 100)
    soundfile.write("nothing.wav", np.zeros(0), 16_000)
    Path("silent").mkdir()
    return tmp_path


@pytest.fixture
def kws(recordings, exported, capsys):  # noqa: ARG001 (the folder it is started in)
    """Runs a command line with the exported model, and returns the exit code and the lines on stdout and stderr."""

    def run(command: str, *files: str) -> tuple[int, list[str], list[str]]:
        model = (
            [str(exported / "kws.tflite")] if command.startswith("info") else ["--model", str(exported / "kws.tflite")]
        )
        code = cli.main([*command.split(), *model, *files])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def test_a_clip_of_any_rate_and_of_two_channels_has_three_likely_answers(kws):
    code, out, err = kws("predict", "stereo.wav")
    assert (code, err) == (0, [])
    [line] = out
    name, start, *answers = line.split("  ")
    assert (name, start) == ("stereo.wav", "0:00:00.0")
    words = [answer.split()[0] for answer in answers]
    shares = [float(answer.split()[1].rstrip("%")) for answer in answers]
    assert words[0] == "low"
    assert sorted(words) == ["_silence_", "high", "low"]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_a_folder_is_its_sound_files_in_any_format_by_name(kws):
    code, out, err = kws("predict --json", "folder")
    assert (code, err) == (0, ["folder: left out, no sound: 1 (notes.txt)"])
    answers = [json.loads(line) for line in out]
    assert [(one["file"], one["start"], one["answers"][0]["word"]) for one in answers] == [
        ("folder/b.flac", 0, "high"),
        ("folder/c.mp3", 0, "_silence_"),
        ("folder/deeper/a.ogg", 0, "low"),
    ]
    for one in answers:
        assert len(one["answers"]) == 3
        assert sum(answer["probability"] for answer in one["answers"]) == pytest.approx(1, abs=1e-3)


def test_in_a_long_file_words_are_found_with_their_times(kws):
    code, out, err = kws("predict --json", "long.wav")
    assert (code, err) == (0, [])
    found = [json.loads(line) for line in out]
    assert [one["answers"][0]["word"] for one in found] == ["low", "high"]
    assert [one["start"] for one in found] == pytest.approx([2, 5], abs=0.2)
    assert kws("predict", "long.wav")[1][1].startswith("long.wav  0:00:0")
    assert kws("predict --threshold 1", "long.wav") == (0, ["long.wav  -  no word"], [])
    assert [json.loads(line) for line in kws("predict --json --threshold 1", "long.wav")[1]] == [
        {"file": "long.wav", "start": None, "answers": []}
    ]


def test_a_clip_that_is_a_little_longer_is_still_one_clip(kws):
    soundfile.write("longer.wav", np.pad(tone(300), (0, 1500)), 16_000)
    [line] = kws("predict", "longer.wav")[1]
    assert line.startswith("longer.wav  0:00:00.0  low ")


def test_what_cannot_be_answered_is_one_line_each_and_the_others_are_answered(kws):
    files = ["empty.wav", "stereo.wav", "text.wav", "missing.wav", "nothing.wav", "silent", "folder/b.flac"]
    code, out, err = kws("predict", *files)
    assert code == 1
    assert [line.split("  ")[0] for line in out] == ["stereo.wav", "folder/b.flac"]
    starts = [
        "error: empty.wav: empty file",
        "error: text.wav: not audio: ",
        "error: missing.wav: No such file or directory",
        "error: nothing.wav: no samples",
        "error: silent: no sound files in this folder",
    ]
    assert len(err) == len(starts)
    assert all(line.startswith(start) for line, start in zip(err, starts, strict=True))


def test_names_that_are_no_text_are_printed_all_the_same(kws):
    name = b"\xff.wav".decode(errors="surrogateescape")
    shutil.copy("stereo.wav", name)
    assert kws("predict", name)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        *("", "predict", "predict --threshold 2 a.wav", "predict --threshold x a.wav", "sing a.wav"),
        *("predict --sensitivity high a.wav", "predict --sensitivity few-misses --threshold 0.5 a.wav"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments.split())
    assert exit_.value.code == 2
    assert "usage: kws" in capsys.readouterr().err


@pytest.mark.usefixtures("recordings")
def test_without_a_model_one_line_says_what_makes_one(capsys):
    assert cli.main(["predict", "stereo.wav"]) == 1
    assert capsys.readouterr().err.startswith("error: models/export/kws.tflite: no such model; dvc repro export writes")


def test_info_says_what_a_model_recognises(kws):
    code, out, _ = kws("info")
    assert code == 0
    assert "classes     low, high, _silence_" in out
    assert "input       waveform of 1 s at 16000 Hz" in out
    assert out[-10:-6] == [
        "threshold   0.6; chosen in 4 h of validation stream, judged in as much test stream",
        "            few-misses        0.45      for 2 false alarms an hour",
        (
            "                              validation: 2.25 (1.12 to 4.27) false alarms an hour, "
            "3.1% (1.6% to 6.2%) of the words missed"
        ),
        (
            "                              test: 2.26 (1.14 to 4.28) false alarms an hour, "
            "4.1% (2.6% to 7.2%) of the words missed"
        ),
    ]
    assert out[-3].split() == ["few-false-alarms", "0.99", "for", "0.125", "false", "alarms", "an", "hour"]
    assert "validation: 0 (0 to 0.922) false alarms an hour" in out[-2]  # no plain 0
    about = json.loads(kws("info --json")[1][0])
    assert about["classes"] == ["low", "high", "_silence_"]
    assert about["front_end"]["mel_bins"] == 40


def test_listen_hears_a_file_in_place_of_a_microphone(kws):
    code, out, err = kws("listen", "--source", "long.wav")
    assert code == 0
    assert err == ["listening for low, high; kws.tflite; threshold 0.60; Ctrl-C stops"]
    assert [line.split()[1] for line in out] == ["low", "high"]
    heard = [json.loads(line) for line in kws("listen --json", "--source", "long.wav")[1]]
    predicted = [json.loads(line) for line in kws("predict --json", "long.wav")[1]]
    assert [one["start"] for one in heard] == [one["start"] for one in predicted]
    assert [one["score"] for one in heard] == [one["answers"][0]["probability"] for one in predicted]


def test_listen_takes_the_stream_file_where_it_lies_beside_the_other_one(recordings, exported_causal, capsys):
    there = recordings / "models" / "export"
    there.mkdir(parents=True)
    heard = []
    for file in ("kws.tflite", "kws_stream.tflite"):
        shutil.copy(exported_causal / file, there)
        assert cli.main(["listen", "--source", "long.wav"]) == 0
        printed = capsys.readouterr()
        assert printed.err == f"listening for low, high; {file}; threshold 0.60; Ctrl-C stops\n"
        heard.append(printed.out)
        assert cli.main(["predict", "long.wav"]) == 0
        heard.append([line.split()[2] for line in capsys.readouterr().out.splitlines()])
    assert heard[:2] == heard[2:]
    assert [line.split()[1] for line in heard[0].splitlines()] == heard[1] == ["low", "high"]
    assert cli.main(["listen", "--source", "long.wav", "--model", "models/export/kws.tflite"]) == 0
    assert "; kws.tflite; " in capsys.readouterr().err


def test_a_clip_has_the_same_answer_by_a_stream_file(recordings, exported_causal, capsys):  # noqa: ARG001
    rows = []
    for file in ("kws.tflite", "kws_stream.tflite"):
        assert cli.main(["predict", "--json", "--model", str(exported_causal / file), "folder"]) == 0
        printed = capsys.readouterr().out.splitlines()
        rows.append([json.loads(line) for line in printed])
    assert rows[0] == rows[1]
    assert [row["answers"][0]["word"] for row in rows[0]][:2] == ["high", "_silence_"]


@pytest.mark.parametrize(
    ("folder", "file", "lines"),
    [
        (
            "exported_causal",
            "kws_stream.tflite",
            ["waveform of 1 s at 16000 Hz, heard in steps of 0.08 s", "log_mel: 49"],
        ),
        ("exported_causal", "kws_features.tflite", ["features of 1 s at 16000 Hz", "log_mel: 49 frames"]),
        ("exported_micro", "kws.tflite", ["features of 1 s at 16000 Hz", "micro: 98 frames of 480 samples"]),
    ],
)
def test_info_says_what_a_file_takes_and_by_which_front_end(request, capsys, folder, file, lines):
    assert cli.main(["info", str(request.getfixturevalue(folder) / file)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[2].startswith(f"input       {lines[0]}")
    assert told[2].endswith(lines[0])
    assert told[3].startswith(f"front end   {lines[1]}")


def test_a_sensitivity_takes_the_models_threshold_for_it(kws):
    code, out, err = kws("listen --sensitivity few-misses", "--source", "long.wav")
    assert (code, err) == (0, ["listening for low, high; kws.tflite; threshold 0.45; Ctrl-C stops"])
    assert [line.split()[1] for line in out] == ["low", "high"]
    assert kws("listen --sensitivity few-false-alarms", "--source", "long.wav")[2][0].split("; ")[2] == "threshold 0.99"
    assert len(kws("predict --sensitivity few-false-alarms", "long.wav")[1]) == 1
    assert len(kws("predict --sensitivity balanced", "long.wav")[1]) == 2


@pytest.fixture
def info_of(exported, recordings, capsys):  # noqa: ARG001
    """What `kws info` prints of a file that was exported with other figures."""

    def print_info(kind="float32", **changes) -> list[str]:
        about = {"kind": kind, "classes": ["no", "yes"], "front_end": FRONT_END.to_json()}
        about |= detection(EVALUATED | changes)
        Path("new.tflite").write_bytes(flatbuffer.join([(exported / "kws.tflite").read_bytes()], about))
        assert cli.main(["info", "new.tflite"]) == 0
        return [line.strip() for line in capsys.readouterr().out.splitlines()]

    return print_info


def test_info_says_where_no_threshold_keeps_the_rate(info_of):
    lines = info_of(balanced_rate_not_kept=1, balanced_threshold=1.0, stream_threshold=1.0)
    assert "balanced          1         for 0.5 false alarms an hour; no threshold keeps that" in lines


def test_info_says_which_rates_the_streams_are_too_short_for_and_which_thresholds_are_one(info_of):
    lines = info_of(few_false_alarms_too_short=1, few_false_alarms_threshold=0.6)
    told = "few-false-alarms  0.6       for 0.125 false alarms an hour; 4 h are too short to tell that"
    assert told in lines
    assert lines[-1] == "balanced and few-false-alarms have one threshold"
    assert not [line for line in info_of() if "one threshold" in line or "too short" in line]


@pytest.mark.parametrize("kind", ["int8", "features"])
def test_info_of_8_bits_says_that_the_float32_network_was_measured(info_of, kind):
    told = "; measured with the float32 network, not with this one"
    assert [told in line for line in info_of(kind) if line.startswith("threshold")] == [True]
    for same in ("float32", "stream"):
        assert not [line for line in info_of(same) if "measured with" in line]
    [threshold] = [line for line in info_of("stream_features") if line.startswith("threshold")]
    assert threshold.endswith(f"{told}, which was compared on whole clips alone")


def test_a_model_of_an_older_version_has_no_sensitivities(exported, recordings, capsys):  # noqa: ARG001
    about = {"kind": "float32", "classes": ["no", "yes"], "threshold": 0.5, "front_end": FRONT_END.to_json()}
    Path("old.tflite").write_bytes(flatbuffer.join([(exported / "kws.tflite").read_bytes()], about))
    assert cli.main(["listen", "--model", "old.tflite", "--source", "long.wav", "--sensitivity", "few-misses"]) == 1
    assert capsys.readouterr().err == "error: old.tflite: has one threshold, 0.5; give another one by --threshold\n"
    assert cli.main(["info", "old.tflite"]) == 0
    assert capsys.readouterr().out.endswith("\nthreshold   0.5\n")


@pytest.mark.parametrize(("source", "told"), [("empty.wav", "empty file"), ("missing.wav", "No such file")])
def test_a_source_that_is_none_is_one_line(kws, source, told):
    code, _, err = kws("listen", "--source", source)
    assert code == 1
    assert err[-1].startswith(f"error: {source}: {told}")


def test_the_level_is_shown_on_a_terminal(kws, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, _, err = kws("listen", "--source", "long.wav")
    meter = "".join(err)
    assert f"[{'#' * 0:40}] -120 dB" in meter
    assert "-14 dB" in meter  # a third of a second of a sine of half the full scale
    assert f"[{'#' * 31:40}]" in meter


class PulledOutError(Exception):
    pass


class FakeSounddevice:
    """The module sounddevice: a microphone that hears two words, then it is pulled out.

    Attributes:
        accepted: its rates and numbers of channels.
        opened: the settings that it was opened with.
    """

    PortAudioError = PulledOutError

    def __init__(self):
        self.accepted = {(16_000, 1)}
        self.own_rate, self.channels = 16_000, 1
        self.opened = {}

    def query_devices(self, device=None, kind=None):
        if device is None and kind is None:
            return "  0 desk microphone, ALSA (2 in, 0 out)"
        assert kind == "input"
        if device not in (None, 3, "desk"):
            raise ValueError(f"No input device matching {device!r}")
        return {"default_samplerate": float(self.own_rate), "max_input_channels": self.channels}

    def check_input_settings(self, device, channels, samplerate, dtype):  # noqa: ARG002
        if (samplerate, channels) not in self.accepted:
            raise PulledOutError("Invalid sample rate")

    def InputStream(self, **settings):  # noqa: N802 (the name in the module)
        self.opened = settings
        if (settings["samplerate"], settings["channels"]) not in self.accepted:
            raise PulledOutError("Invalid number of channels")
        return Microphone(**settings)


class Microphone:
    def __init__(self, samplerate, blocksize, device, channels, dtype):  # noqa: ARG002
        assert dtype == "float32"
        stream = np.concatenate([tone(hertz, samplerate) for hertz in WORDS])
        self.stream = np.stack([channels * stream] + [0 * stream] * (channels - 1), axis=1)
        self.blocksize = blocksize
        self.read_already = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, samples):
        first, self.read_already = self.read_already, self.read_already + samples
        if first >= len(self.stream):
            raise PulledOutError("Unanticipated host error")
        return self.stream[first : self.read_already].astype(np.float32), first == self.blocksize


@pytest.fixture
def sounddevice(monkeypatch) -> FakeSounddevice:
    module = FakeSounddevice()
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


@pytest.mark.parametrize("device", [[], ["--device", "3"], ["--device", "desk"]])
def test_listen_hears_the_microphone_until_it_is_gone(kws, sounddevice, device):
    code, out, err = kws("listen", *device)
    asked = {"device": {"3": 3}.get(device[1], device[1]) if device else None}
    assert sounddevice.opened == asked | {"samplerate": 16_000, "blocksize": 320, "channels": 1, "dtype": "float32"}
    assert [line.split()[1] for line in out] == ["low", "high"]
    assert code == 1
    assert err[1:] == [
        "warning: sound was lost, since this machine is too slow",
        (
            "error: no microphone answers (Unanticipated host error); --devices lists them, --device chooses one, "
            "or give a sound file: --source FILE"
        ),
    ]


@pytest.mark.usefixtures("sounddevice")
def test_a_device_that_is_not_there_is_one_line(kws):
    code, _, err = kws("listen", "--device", "kitchen")
    assert code == 1
    assert err[-1].startswith("error: no microphone answers (No input device matching 'kitchen'); --devices lists")


@pytest.mark.parametrize(
    ("accepted", "own", "opened"),
    [
        ({(44_100, 1), (44_100, 2)}, (44_100, 2), (44_100, 1)),
        ({(48_000, 2)}, (48_000, 2), (48_000, 2)),
        ({(16_000, 2), (48_000, 2)}, (48_000, 2), (16_000, 2)),
        ({(96_000, 8)}, (96_000, 8), (96_000, 8)),
        ({(8000, 1)}, (8000, 1), (8000, 1)),
    ],
)
def test_a_microphone_of_any_rate_and_channels_is_opened_as_it_is(kws, sounddevice, accepted, own, opened):
    sounddevice.accepted = accepted
    sounddevice.own_rate, sounddevice.channels = own
    _, out, _ = kws("listen --json --threshold 0.5")
    assert (sounddevice.opened["samplerate"], sounddevice.opened["channels"]) == opened
    assert sounddevice.opened["blocksize"] == round(0.02 * opened[0])
    found = [json.loads(line) for line in out]
    assert [one["word"] for one in found] == ["low", "high"]
    assert [one["start"] for one in found] == pytest.approx([2, 5], abs=0.2)


def test_a_microphone_that_accepts_nothing_is_one_line(kws, sounddevice):
    sounddevice.accepted = set()
    code, out, err = kws("listen")
    assert (code, out) == (1, [])
    assert err[-1].startswith("error: no microphone answers (Invalid number of channels); --devices lists them")


@pytest.mark.usefixtures("sounddevice", "recordings")
def test_devices_are_listed_without_a_model(capsys):
    assert cli.main(["listen", "--devices"]) == 0
    assert capsys.readouterr().out == "  0 desk microphone, ALSA (2 in, 0 out)\n"


@pytest.mark.usefixtures("sounddevice")
def test_ctrl_c_ends_listening_without_an_error(kws, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Microphone, "read", interrupt)
    assert kws("listen")[0] == 0


def test_without_the_package_of_the_microphone_one_line_says_what_to_install(kws, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, _, err = kws("listen")
    assert code == 1
    assert err[-1].startswith("error: the microphone needs the package sounddevice: pip install sounddevice, or give")


def test_without_the_library_of_the_microphone_one_line_says_what_to_install(kws, monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    code, _, err = kws("listen")
    assert code == 1
    assert err[-1].startswith("error: the microphone needs the library PortAudio (Debian: libportaudio2)")


def run(*arguments: str, **settings) -> subprocess.CompletedProcess:
    """`python -m kws` as a process of its own."""
    command = [sys.executable, "-m", "kws", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


@pytest.mark.usefixtures("recordings")
def test_a_model_exported_before_a_change_of_the_word_list_still_names_its_words(exported):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(params | {"words": ["high", "low", "more"]}))
    done = run("predict", "--json", "--model", exported / "kws_int8.tflite", "stereo.wav", "folder/b.flac")
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["answers"][0]["word"] for line in done.stdout.splitlines()] == ["low", "high"]


@pytest.mark.usefixtures("recordings")
def test_a_reader_that_has_seen_enough_is_no_error(exported):
    command = f"{sys.executable} -m kws predict -m {exported / 'kws.tflite'} {'stereo.wav ' * 200} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stereo.wav  0:00:00.0  low ")
    assert done.stderr == ""


def test_help_names_the_commands():
    done = run("--help")
    assert done.returncode == 0
    for command in ("predict", "listen", "info"):
        assert command in done.stdout


def with_input(exported: Path, command: str, data: bytes) -> subprocess.CompletedProcess:
    """`python -m kws` with these bytes in a pipe to it."""
    whole = [sys.executable, "-m", "kws", *command.split(), "--model", exported / "kws.tflite"]
    done = subprocess.run(whole, input=data, capture_output=True, check=False)
    return subprocess.CompletedProcess(whole, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_predict_reads_a_pipe(exported, name):
    command = f"predict --json {name}"
    clip = with_input(exported, command, Path("stereo.wav").read_bytes())
    assert (clip.returncode, clip.stderr) == (0, "")
    assert json.loads(clip.stdout)["file"] == name
    assert json.loads(clip.stdout)["answers"][0]["word"] == "low"
    stream = with_input(exported, command, Path("long.wav").read_bytes())
    assert (stream.returncode, stream.stderr) == (0, "")
    assert [json.loads(line)["answers"][0]["word"] for line in stream.stdout.splitlines()] == ["low", "high"]
    phone = with_input(exported, command, sound_file("m4a", tone(300, 48_000), 48_000))
    assert json.loads(phone.stdout)["answers"][0]["word"] == "low"
    for data, reason in ((b"", "empty file"), (b"a text", "not audio: ")):
        none = with_input(exported, command, data)
        assert (none.returncode, none.stdout) == (1, "")
        assert none.stderr.startswith(f"error: {name}: {reason}")
        assert none.stderr.count("\n") == 1


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("kind", ["wav", "webm"])
def test_listen_hears_a_pipe(exported, name, kind):
    words = np.concatenate([tone(hertz, 16_000) for hertz in WORDS])
    done = with_input(exported, f"listen --json --source {name}", sound_file(kind, words, 16_000))
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["word"] for one in found] == ["low", "high"]
    assert [one["start"] for one in found] == pytest.approx([2, 5], abs=0.2)
    nothing = with_input(exported, f"listen --source {name}", b"")
    assert nothing.returncode == 1
    assert nothing.stderr.splitlines()[-1].startswith(f"error: {name}: ")
    assert "Traceback" not in nothing.stderr


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("command", ["predict -", "listen --source -"])
def test_without_standard_input_one_line_says_so(exported, command):
    whole = f"{sys.executable} -m kws {command} --model {exported / 'kws.tflite'} <&-"
    done = subprocess.run(whole, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: -: no standard input\n")


@pytest.mark.parametrize("command", [["predict"], ["listen", "--source"]])
def test_an_empty_name_is_no_folder_and_no_microphone(kws, command):
    assert kws(*command, "") == (1, [], ["error: an empty name: give a sound file, or - for a pipe"])


def test_a_pipe_without_an_end_is_read_no_further_than_its_bound(kws, monkeypatch):
    monkeypatch.setattr(cli, "MOST_PIPE_BYTES", 2**20)
    code, out, err = kws("predict", "/dev/zero", "stereo.wav")
    assert (code, len(out)) == (1, 1)
    told = "/dev/zero: more than 1,048,576 bytes from a pipe; kws listen --source /dev/zero reads on"
    assert err == [f"error: {told}"]


@pytest.mark.parametrize("command", ["predict --json", "listen --json --source"])
def test_a_named_pipe_is_read(kws, command):
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=[Path("long.wav").read_bytes()])
    writer.start()
    code, out, _ = kws(f"{command} pipe")
    writer.join()
    assert code == 0
    assert [one.get("word") or one["answers"][0]["word"] for one in map(json.loads, out)] == ["low", "high"]


@pytest.mark.parametrize("address", ["https://example.org/a.wav", "file:///tmp/a.wav", "s3://bucket/a.wav"])
@pytest.mark.parametrize("command", ["predict", "listen --source"])
def test_an_address_is_refused_in_a_line(kws, command, address):
    code, out, err = kws(f"{command} {address}")
    assert (code, out) == (1, [])
    assert err == [f"error: {address}: addresses are not read; download the file, or pipe it in and give -"]


def test_a_folder_of_phones_and_browsers_recordings_is_answered_and_what_is_no_sound_is_told(kws):
    Path("mixed/__MACOSX").mkdir(parents=True)
    for kind, hertz in (("m4a", 300), ("webm", 3000), ("3gp", 300), ("wma", 3000), ("caf", 300), ("w64", 3000)):
        Path(f"mixed/{kind}.{kind}").write_bytes(sound_file(kind, tone(hertz, 48_000), 48_000))
    Path("mixed/zz without suffix").write_bytes(sound_file("aiff", tone(300, 16_000), 16_000))
    for name in ("notes.txt", "cover.jpg", "b.pdf", "list.csv"):
        Path("mixed", name).write_bytes(b"no sound")
    for name in ("._m4a.m4a", ".DS_Store", "__MACOSX/m4a.m4a", "Thumbs.db"):
        Path("mixed", name).write_bytes(b"of the system")
    code, out, err = kws("predict --json", "mixed")
    assert (code, err) == (0, ["mixed: left out, no sound: 4 (b.pdf, cover.jpg, list.csv and 1 more)"])
    heard = {Path(one["file"]).name: one["answers"][0]["word"] for one in map(json.loads, out)}
    assert heard == {
        "3gp.3gp": "low",
        "caf.caf": "low",
        "m4a.m4a": "low",
        "w64.w64": "high",
        "webm.webm": "high",
        "wma.wma": "high",
        "zz without suffix": "low",
    }


def test_links_and_pipes_in_a_folder_are_told(kws):
    Path("odd/deep").mkdir(parents=True)
    shutil.copy("stereo.wav", "odd/a.wav")
    Path("odd/good link.wav").symlink_to("a.wav")
    Path("odd/deep/broken.wav").symlink_to("nowhere.wav")
    Path("odd/zoe").symlink_to(Path("folder").resolve())
    os.mkfifo("odd/pipe.wav")
    Path("odd/notes.txt").write_text("no sound")
    code, out, err = kws("predict --json", "odd")
    assert code == 0
    assert [json.loads(line)["file"] for line in out] == ["odd/a.wav", "odd/good link.wav"]
    assert err == [
        "odd: left out, links that lead nowhere: 1 (broken.wav)",
        "odd: left out, links to folders: 1 (zoe)",
        "odd: left out, no files: 1 (pipe.wav)",
        "odd: left out, no sound: 1 (notes.txt)",
    ]


def test_sound_that_is_none_is_refused_as_in_training(kws):
    soundfile.write("zeros.wav", np.zeros(16_000), 16_000)
    soundfile.write("constant.wav", np.full(16_000, 0.02), 16_000)
    soundfile.write("bit.wav", np.random.default_rng(0).integers(-1, 2, 16_000).astype(np.int16), 16_000)
    code, out, err = kws("predict", "zeros.wav", "constant.wav", "bit.wav")
    assert (code, out) == (1, [])
    assert err == [
        "error: zeros.wav: silent: every sample is zero",
        "error: constant.wav: silent: every sample is the same, 0.02",
        "error: bit.wav: silent: its samples differ by one bit",
    ]


def test_a_long_file_without_sound_is_refused_as_a_clip_is_and_a_stream_may_be_silent(kws):
    soundfile.write("zeros.wav", np.zeros(48_000), 16_000)
    soundfile.write("constant.wav", np.full(132_300, 0.02), 44_100)
    soundfile.write("bit.wav", np.random.default_rng(0).integers(-1, 2, 48_000).astype(np.int16), 16_000)
    code, out, err = kws("predict", "zeros.wav", "constant.wav", "bit.wav")
    assert code == 1
    assert {line.split()[0] for line in out} <= {"constant.wav"}  # whose beginning, heard before its end, is a thud
    assert err == [
        "error: zeros.wav: silent: every sample is zero",
        "error: constant.wav: silent: every sample is the same, 0.02",
        "error: bit.wav: silent: its samples differ by one bit",
    ]
    assert kws("listen", "--source", "zeros.wav")[0] == 0


@pytest.mark.parametrize("command", [["predict --json"], ["listen --json", "--source"]])
def test_what_was_mended_in_a_long_file_is_told(kws, command):
    stream = np.concatenate([tone(hertz) for hertz in WORDS])
    noise = 1e-5 * np.random.default_rng(0).normal(size=(len(stream), 2))
    inverted = noise + np.stack([0.9 * stream, -stream], axis=1)
    soundfile.write("inverted.wav", inverted, 16_000, subtype="FLOAT")
    soundfile.write("scale.wav", 30_000 * stream, 16_000, subtype="FLOAT")
    data = Path("long.wav").read_bytes()
    Path("cut off.wav").write_bytes(data[:-1000])
    for name, remark in (
        ("inverted.wav", "channel 2 of 2 alone: the channels cancel each other"),
        ("scale.wav", "divided by 32768: floats in the range of integers"),
        ("cut off.wav", "cut off: the header promises 1,000 bytes more"),
    ):
        code, out, err = kws(*command, name)
        assert code == 0
        assert [line for line in err if not line.startswith("listening")] == [f"{name}: {remark}"]
        words = [one.get("word") or one["answers"][0]["word"] for one in map(json.loads, out)]
        assert words == ["low", "high"]


def test_what_was_mended_in_a_clip_is_told(kws):
    soundfile.write("inverted.wav", np.stack([tone(300), -tone(300)], axis=1), 16_000, subtype="FLOAT")
    soundfile.write("scale.wav", 30_000 * tone(300), 16_000, subtype="FLOAT")
    code, out, err = kws("predict --json", "inverted.wav", "scale.wav")
    assert code == 0
    assert [json.loads(line)["answers"][0]["word"] for line in out] == ["low", "low"]
    assert err == [
        "inverted.wav: channel 1 of 2 alone: the channels cancel each other",
        "scale.wav: divided by 32768: floats in the range of integers",
    ]


def test_without_the_decoder_one_line_names_the_format_and_what_to_install(kws, monkeypatch):
    Path("memo.m4a").write_bytes(sound_file("m4a", tone(300, 48_000), 48_000))
    monkeypatch.setitem(sys.modules, "av", None)
    told = "memo.m4a: MP4, M4A or 3GP (AAC, ALAC, AMR) needs the package av: pip install 'kws[media]'"
    assert kws("predict", "memo.m4a") == (1, [], [f"error: {told}"])
    assert kws("listen", "--source", "memo.m4a")[2][-1] == f"error: {told}"


def test_a_file_of_a_folder_that_may_not_be_read_is_told_and_the_others_are_answered(kws, monkeypatch):
    opened = Path.open

    def deny(path, *mode, **more):
        if path.name == "c.mp3":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *mode, **more)

    monkeypatch.setattr(Path, "open", deny)  # root may read everything
    code, out, err = kws("predict", "folder")
    assert code == 1
    assert [line.split("  ")[0] for line in out] == ["folder/b.flac", "folder/deeper/a.ogg"]
    assert err[1:] == ["error: folder/c.mp3: Permission denied"]
