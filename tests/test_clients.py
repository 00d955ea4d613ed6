"""The real clients of the files for devices, each in an environment of its own from its lock file.

`pymicro-wakeword` and TensorFlow Lite Micro run the files on real recordings; `esphome` checks the configuration of
docs/esphome.md.
"""

import importlib.util
import json
import re
import shutil
import subprocess
import tarfile
import wave
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from conftest import RECORDINGS, ROOT, needs_recordings
from environments import environment_of, needs_network

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_recording
from kws.audio.micro import micro_features
from kws.evaluate.devices import DeviceNetwork
from kws.export import esphome
from kws.spotting.device_rule import cutoff_of, detections, device_input
from kws.train import device
from kws.train.networks import NETWORKS

RATE, FRAMES = 16_000, 98
WORDS = ("marvin", "yes", "stop")
OTHERS = ("no", "go", "left", "happy", "five")
CLIPS = 10  # of each word: all that there are of marvin
STEP = 3
CUTOFF, SIZE = 0.5, 5
NEAR = 0.06  # of the cutoff, where other kernels may decide otherwise
DOCS = (ROOT / "docs" / "esphome.md").read_text(encoding="utf-8")

needs_tflm = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro has no wheel for this machine"
)


def recordings(word: str, count: int) -> list[np.ndarray]:
    """Clips of a second, 16-bit values in float32, in the order of their names."""
    [path] = (RECORDINGS / "clips").glob(f"m*/{word}.tar")  # mini or more
    with tarfile.open(path) as clips:
        files = [clips.extractfile(name).read() for name in sorted(clips.getnames())[:count]]
    sounds = [decode_recording(file, RATE).samples for file in files]
    return [np.rint(cut_or_pad(sound, RATE) * 32767).astype(np.float32) / 32768 for sound in sounds]


def settled(clip: np.ndarray) -> np.ndarray:
    """The features of a clip after a second of faint noise."""
    noise = np.random.default_rng(len(clip)).normal(0, 1e-3, RATE).astype(np.float32)
    return micro_features(np.concatenate([noise, clip]))[-FRAMES:]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Pairs of three words, of a network that was trained for a few seconds: parity is tested, not accuracy."""
    folder = tmp_path_factory.mktemp("esphome")
    clips, labels = [], []
    for label, words in enumerate([*((word,) for word in WORDS), OTHERS]):
        for word in words:
            for clip in recordings(word, CLIPS):
                for shift in (-1600, 0, 1600):
                    clips.append(settled(np.roll(clip, shift)))
                    labels.append(label)
    features = np.stack(clips)[..., None]
    keras.utils.set_random_seed(1)
    model = NETWORKS["matchboxnet"](FRAMES, 40, len(WORDS) + 1, 0.25, causal=True)
    model.get_layer("normalization").adapt(features)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)  # as in preset device
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    history = model.fit(features, keras.utils.to_categorical(labels), batch_size=32, epochs=20, verbose=0).history
    assert history["accuracy"][-1] > 0.8
    figures = {"step_frames": STEP, "size": SIZE, "cutoff": CUTOFF, "differs_by": 0.0}
    files = {word: device.device_file(model, place, features[::7]) for place, word in enumerate(WORDS)}
    costs, lines = esphome.write_pairs(folder / "pairs", files, dict.fromkeys(WORDS, figures), "en")
    assert len(costs) > 0, lines
    return folder / "pairs"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Real recordings one after the other over real background, as samples and as a WAV file."""
    noise = decode_recording((RECORDINGS / "background_noise" / "running_tap.opus").read_bytes(), RATE).samples
    parts = [noise[: 2 * RATE] * 0.1]
    for number in range(CLIPS):
        for word in (*WORDS, OTHERS[number % len(OTHERS)]):
            start = (2 + number) * RATE
            parts += [recordings(word, CLIPS)[number % CLIPS], noise[start : start + RATE] * 0.1]
    whole = np.clip(np.rint(np.concatenate(parts) * 32768), -32768, 32767).astype("<i2")
    path = tmp_path_factory.mktemp("sound") / "words.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(whole.tobytes())
    return whole.astype(np.float32) / 32768, path


def recording_at(number: int) -> int:
    """Which recording was heard in the two seconds before a slice: the sound has one each two seconds."""
    return int((number / 100 - 0.3) // 2)


def our_scores(pair: Path, samples: np.ndarray) -> np.ndarray:
    return DeviceNetwork(pair).hear(micro_features(samples))[:, 0]


CLIENT = """
import json, sys, wave
from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures
with wave.open(sys.argv[2], "rb") as file:
    sound = file.readframes(file.getnframes())
word = MicroWakeWord.from_config(sys.argv[1])
front_end, told = MicroWakeWordFeatures(), []
for start in range(0, len(sound), 2048):
    for features in front_end.process_streaming(sound[start : start + 2048]):
        tell = word.process_streaming_prob if sys.argv[3] == "scores" else word.process_streaming
        told.append(tell(features))
json.dump(told, sys.stdout)
"""


def told_by_client(manifest: Path, path: Path, what: str) -> list:
    """What pymicro-wakeword tells after each frame: the mean of its window (`scores`), or whether it is a word."""
    command = [environment_of("clients") / "python", "-c", CLIENT, manifest, path, what]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@needs_network
@needs_recordings
@needs_tflm
@pytest.mark.parametrize("word", WORDS)
def test_pymicro_wakeword_gives_the_scores_that_we_do(pairs, sound, word, tmp_path):
    """It rounds features by the scale of the file, and uses LiteRT's own kernels; ESPHome does not: see below."""
    manifest = json.loads((pairs / f"{word}.json").read_text())
    manifest["micro"]["sliding_window_size"] = 1  # so that the mean is the score
    shutil.copy(pairs / f"{word}.tflite", tmp_path)
    (tmp_path / f"{word}.json").write_text(json.dumps(manifest))
    samples, path = sound
    theirs = 256 * np.array(told_by_client(tmp_path / f"{word}.json", path, "scores")[STEP - 1 :: STEP])
    assert (theirs > 128).sum() > 10
    assert (theirs < 64).mean() > 0.5

    interpreter = Interpreter(
        model_path=str(pairs / f"{word}.tflite"),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    [takes], [gives] = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = takes["quantization"]
    features = np.rint(micro_features(samples) / scale + zero).astype(np.int8)
    ours = []
    for step in features[: len(theirs) * STEP].reshape(-1, 1, STEP, 40):
        interpreter.set_tensor(takes["index"], step)
        interpreter.invoke()
        ours.append(int(interpreter.get_tensor(gives["index"])[0, 0]))
    assert len(theirs) == len(features) // STEP > 2000
    assert np.abs(theirs - ours).max() <= 3

    as_evaluated = our_scores(pairs / f"{word}.tflite", samples)  # rounded as ESPHome and TensorFlow Lite Micro do
    assert np.abs(theirs - as_evaluated).mean() < 1


@needs_network
@needs_recordings
@needs_tflm
@pytest.mark.parametrize("word", WORDS)
def test_pymicro_wakeword_and_esphomes_rule_detect_the_same_recordings(pairs, sound, word):
    samples, path = sound
    theirs = np.array(told_by_client(pairs / f"{word}.json", path, "words")[STEP - 1 :: STEP], bool)
    rises = np.flatnonzero(theirs[1:] & ~theirs[:-1]) + 1
    scores = our_scores(pairs / f"{word}.tflite", samples)
    slices = detections(scores, step=STEP, cutoff=cutoff_of(CUTOFF), size=SIZE)
    means = np.convolve(scores.astype(float), np.ones(SIZE))[: len(scores)] / SIZE / 256
    highest: dict[int, float] = {}
    for number, mean in enumerate(means):
        place = recording_at(STEP * number)
        highest[place] = max(highest.get(place, 0.0), mean)
    near = {place for place, mean in highest.items() if abs(mean - CUTOFF) < NEAR}  # kernels round differently
    told, ours = ({recording_at(number) for number in found} for found in (STEP * rises, slices))
    assert told - near == ours - near
    assert len(ours - near) >= 2
    assert len(near) <= CLIPS / 2


@needs_network
@needs_recordings
@needs_tflm
def test_the_program_of_pymicro_wakeword_detects_a_word(pairs, sound):
    _, path = sound
    command = [environment_of("clients") / "python", "-m", "pymicro_wakeword", "--config", pairs / "marvin.json", path]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told == f"{path} detected\n"


@needs_recordings
@needs_tflm
@pytest.mark.parametrize("word", WORDS)
def test_tflm_runs_it_within_the_arena_of_the_manifest(pairs, sound, word):
    from tflite_micro.python.tflite_micro.runtime import Interpreter as MicroInterpreter

    arena = json.loads((pairs / f"{word}.json").read_text())["micro"]["tensor_arena_size"]
    micro = MicroInterpreter.from_file(str(pairs / f"{word}.tflite"), arena_size=arena)
    samples, _ = sound
    ours = our_scores(pairs / f"{word}.tflite", samples)
    features = device_input(micro_features(samples))
    theirs = []
    for step in features[: len(ours) * STEP].reshape(-1, 1, STEP, 40):
        micro.set_input(step, 0)
        micro.invoke()
        theirs.append(int(micro.get_output(0)[0, 0]))
    assert np.abs(np.array(theirs) - ours).max() <= 3


def yaml_of_docs() -> str:
    [text] = re.findall(r"```yaml\n(# satellite.yaml\n.*?)```", DOCS, flags=re.DOTALL)
    return text


@needs_network
@needs_recordings
@needs_tflm
def test_esphome_accepts_the_configuration_of_the_docs(pairs, tmp_path):
    shutil.copytree(pairs, tmp_path / "marvin")
    (tmp_path / "satellite.yaml").write_text(yaml_of_docs())
    secrets = ("wifi_ssid", "wifi_password", "api_key", "ota_password")
    values = dict.fromkeys(secrets, "something") | {"api_key": "bm90IGEgc2VjcmV0LCBqdXN0IDMyIGJ5dGVzIHRleHQ="}
    (tmp_path / "secrets.yaml").write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
    command = [environment_of("esphome") / "esphome", "config", tmp_path / "satellite.yaml"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Configuration is valid!" in done.stdout + done.stderr

    manifest = json.loads((tmp_path / "marvin" / "marvin.json").read_text())
    del manifest["micro"]["tensor_arena_size"]  # so it does look into the manifest
    (tmp_path / "marvin" / "marvin.json").write_text(json.dumps(manifest))
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode
    assert "Invalid manifest file" in done.stdout + done.stderr
