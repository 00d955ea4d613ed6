"""Every path of dvc.yaml, once. All are relative to the project's root, where DVC starts each stage."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")
OWN = Path("data/own.json")  # what the user's own recordings hold: DVC compares it
PRETRAINED = Path("data/pretrained.json")  # likewise, the file that `pretrained` names
RAW = Path("data/raw")
TEST_RAW = RAW / "test"
FEATURES = Path("data/features")
ANSWERS = Path("data/answers.npz")  # to the test clips
VALIDATION = Path("data/validation.npz")  # the answers to the validation clips, by which people choose
STREAM = Path("data/stream.npz")  # what became of the stream of the test
MODEL = Path("models/kws.keras")
NETWORK = Path("models/network.tflite")  # float32: log-Mel in, embedding and probabilities out
NETWORK_INT8 = Path("models/network_int8.tflite")  # the same in 8 bits: log-Mel in, logits out
STREAMS = Path("models/streams")  # the networks step by step, if they are causal
STREAM_NETWORK = STREAMS / "stream.tflite"  # float32: a step of log-Mel in, probabilities out
STREAM_NETWORK_INT8 = STREAMS / "stream_int8.tflite"  # the same in 8 bits: a step of log-Mel in, logits out
DEVICES = STREAMS / "device"  # a file for each word, for small devices with ESPHome
DEVICE_FLOAT32 = STREAMS / "device_float32.tflite"  # the network that they were made of, in their steps
EXPORT = Path("models/export")
SPOTTER = EXPORT / "kws.tflite"  # float32: waveform in, probabilities out
CARD = Path("models/README.md")  # the model card, where forges show it
TRACKED = Path("data/tracked.json")  # which experiment was recorded; see dvc.yaml
METRICS = Path("metrics")
PLOTS = Path("plots")

SOURCE = RAW / "source.json"
CLIPS = RAW / "clips.csv"
TEST_CLIPS = TEST_RAW / "clips.csv"
OTHER_SPEECH = RAW / "other_speech.tar"  # computed voices that say other words, if the data set has too few
OTHER_SPEECH_CLIPS = OTHER_SPEECH.with_suffix(".csv")
COMPUTED = RAW / "computed.tar"  # computed voices that speak beside people, if there are any
COMPUTED_CLIPS = COMPUTED.with_suffix(".csv")
LEFT_OUT = RAW / "left_out.csv"  # files that are no clips, with the reason
SPEC = FEATURES / "spec.json"
MANIFEST = FEATURES / "manifest.csv"
HISTORY = PLOTS / "train" / "history.csv"  # the training curves, one row per epoch
CURVES = HISTORY.with_name("curves.png")


def project_root() -> Path:
    """The checkout in which `dvc` was started, also if a queued or --temp experiment runs in a copy of it."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def scratch(name: str) -> Path:
    """A folder for unfinished work that must survive a restart: outside DVC's outputs, ignored by git."""
    folder = project_root() / ".scratch" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
