"""The programs that benchmarks/speed.py times: parts of kws, and the same work with other public libraries.

    python benchmarks/contenders.py <contender> <archive or features> [<folder for the results>]

Prints its figures as JSON. The front end has the numbers of params.yaml, written out here, so that the peers need
nothing of kws. The archive is a tar file with a folder for each word.
"""

import io
import json
import multiprocessing
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

RATE, SAMPLES, FRAME, HOP, BINS, LOW, HIGH = 16_000, 16_000, 1024, 256, 80, 20.0, 7600.0
BATCH = 64
EPOCHS = 3  # the first is not counted: it compiles


def extracted(archive: Path, folder: Path) -> list[str]:
    """Unpacks an archive, as the tutorials do, and returns its files."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "wav", filter="data")
    return sorted(str(path) for path in folder.glob("wav/*/*.wav"))


def write_examples(features: Iterable[tuple[str, np.ndarray]], folder: Path) -> None:
    """Writes name and features of each clip as TFRecords, with TensorFlow."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(folder / "clips.tfrecord")) as writer:
        for name, mel_power in features:
            feature = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for key, value in (("mel_power", mel_power.tobytes()), ("name", name.encode()))
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def tutorial(archive: Path, folder: Path) -> None:
    """TensorFlow's "Simple audio recognition": one clip at a time through `tf.data`, here to Mel power."""
    import tensorflow as tf

    weights = tf.signal.linear_to_mel_weight_matrix(BINS, FRAME // 2 + 1, RATE, LOW, HIGH)

    def mel_power(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        waveform, _ = tf.audio.decode_wav(tf.io.read_file(path), desired_channels=1, desired_samples=SAMPLES)
        spectrum = tf.signal.stft(tf.squeeze(waveform, -1), FRAME, HOP)
        return path, tf.abs(spectrum) ** 2 @ weights

    files = tf.data.Dataset.from_tensor_slices(extracted(archive, folder))
    clips = files.map(mel_power, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    write_examples(((path.decode(), power) for path, power in clips.as_numpy_iterator()), folder)


def batched(archive: Path, folder: Path) -> None:
    """The same in batches of 64 clips through `tf.signal`."""
    import tensorflow as tf

    weights = tf.signal.linear_to_mel_weight_matrix(BINS, FRAME // 2 + 1, RATE, LOW, HIGH)

    def decode(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        waveform, _ = tf.audio.decode_wav(tf.io.read_file(path), desired_channels=1, desired_samples=SAMPLES)
        return path, tf.squeeze(waveform, -1)

    def mel_power(paths: tf.Tensor, waveforms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return paths, tf.abs(tf.signal.stft(waveforms, FRAME, HOP)) ** 2 @ weights

    files = tf.data.Dataset.from_tensor_slices(extracted(archive, folder))
    clips = files.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    clips = clips.map(mel_power, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE).unbatch()
    write_examples(((path.decode(), power) for path, power in clips.as_numpy_iterator()), folder)


def librosa_clip(path: str) -> tuple[str, np.ndarray]:
    """Mel power of one clip, with librosa."""
    import librosa

    waveform, _ = librosa.load(path, sr=RATE)
    waveform = librosa.util.fix_length(waveform, size=SAMPLES)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=RATE, n_fft=FRAME, hop_length=HOP, center=False, n_mels=BINS, fmin=LOW, fmax=HIGH, htk=True,
        norm=None,
    )  # fmt: skip
    return path, power.T


def librosa(archive: Path, folder: Path) -> None:
    """Mel power with librosa, in two processes."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        write_examples(pool.imap(librosa_clip, extracted(archive, folder), chunksize=BATCH), folder)


def torch(archive: Path, folder: Path) -> None:
    """Mel power with torch's stft, in batches of 64 clips."""
    import soundfile
    import torch as pytorch

    from kws.audio.mel import mel_matrix

    window, weights = pytorch.hann_window(FRAME), pytorch.from_numpy(mel_matrix(RATE, FRAME, BINS, LOW, HIGH))
    files = extracted(archive, folder)

    def features() -> Iterable[tuple[str, np.ndarray]]:
        for first in range(0, len(files), BATCH):
            names = files[first : first + BATCH]
            clips = [np.resize(soundfile.read(name, dtype="float32")[0], SAMPLES) for name in names]
            spectrum = pytorch.stft(
                pytorch.from_numpy(np.stack(clips)), FRAME, HOP, window=window, center=False, return_complex=True
            )
            yield from zip(names, (spectrum.abs().square().transpose(1, 2) @ weights).numpy(), strict=True)

    write_examples(features(), folder)


def ours(archive: Path, folder: Path) -> dict[str, float]:
    """Seconds of featurize alone, without imports, pictures and manifest, in the project that has the archive."""
    from kws.core import paths
    from kws.featurize.chosen import Chosen
    from kws.featurize.compute import compute_chosen
    from kws.recordings.clips import read_clips
    from kws.recordings.source import DataSource
    from kws.records.write import RecordWriter

    started = time.perf_counter()
    source = DataSource.read(paths.SOURCE)
    assert source.archive == archive.name
    chosen = [Chosen(clip, clip.word, "train") for clip in read_clips(paths.CLIPS)]
    computed = compute_chosen(chosen, source, {}, front_end(), {source.archive_of("train"): "start"})
    with RecordWriter(folder, {"train": 1}) as writer:
        for _, [clip] in computed:
            assert clip.mel_power is not None
            writer.write("train", clip.name, "", 0, clip.mel_power)
    return {"seconds": time.perf_counter() - started}


def front_end() -> Any:
    """The front end of kws with these numbers."""
    from kws.audio.frontend import FrontEnd

    return FrontEnd(RATE, SAMPLES, FRAME, HOP, FRAME, BINS, LOW, HIGH, log_offset=1e-7, kind="log_mel")


def floors(archive: Path, folder: Path) -> dict[str, float]:
    """Seconds of each part of featurize by itself, on both cores: together the lower limit of its time."""
    import scipy.fft
    from threadpoolctl import threadpool_limits

    from kws.audio.decode import decode_recording

    f, found = front_end(), {}

    def timed(name: str, work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        started = time.perf_counter()
        results = list(pool.map(lambda some: [work(item) for item in some], np.array_split(np.arange(len(items)), 32)))
        found[name] = time.perf_counter() - started
        return [result for some in results for result in some]

    with threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        started = time.perf_counter()
        content = archive.read_bytes()
        found["reading"] = time.perf_counter() - started
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            data = [tar.extractfile(info).read() for info in tar if info.isfile()]  # type: ignore[union-attr]
        waveforms = timed("decoding", lambda i: decode_recording(data[i], RATE).samples, data)
        padded = [np.resize(waveform, SAMPLES) for waveform in waveforms]
        frames = np.lib.stride_tricks.sliding_window_view(padded[0], FRAME)[::HOP].copy()
        spectra = timed("FFT", lambda _: scipy.fft.rfft(frames), padded)
        power = np.square(np.abs(spectra[0]))
        products = timed("Mel product", lambda _: power @ f.weights, padded)
        margins = (f.frames + 2 * f.margin) / f.frames
        content = b"".join(np.resize(product, round(margins * product.size)).tobytes() for product in products)
        started = time.perf_counter()
        (folder / "floor").write_bytes(content)
        found["writing"] = time.perf_counter() - started
    return found


def train_ours(features: Path, folder: Path, model: str = "cnn", **changes: Any) -> dict[str, float]:
    """Clips per second of `kws.train.training`: training, validation and checkpoint of an epoch."""
    import dataclasses

    from kws.core.params import load_params
    from kws.records.spec import FeatureSpec
    from kws.train import networks, training

    params = load_params(Path(__file__).parent.parent / "params.yaml")
    spec = FeatureSpec.read(features / "spec.json")
    recipe = training.Recipe.from_params(params.model_copy(update={"patience": EPOCHS, **changes}))
    recipe = dataclasses.replace(recipe, epochs=EPOCHS)
    training.make_deterministic(1, threads=2)
    network = networks.NETWORKS[model](spec.front_end.frames, spec.front_end.mel_bins, len(spec.classes), 1.0)
    ends: list[float] = []
    training.train_model(
        network, features, spec, recipe=recipe, checkpoint=folder, on_epoch=lambda _: ends.append(time.perf_counter())
    )
    return {"clips a second": spec.clips["train"] / float(np.median(np.diff(ends)))}


AUGMENTED = {
    "shift_ms": 100.0, "speed": 0.1, "frequency_warp": 0.08, "noise_share": 0.8, "noise_snr_low": -5.0, "gain_db": 6.0,
    "time_masks": 2, "frequency_masks": 2,
}  # fmt: skip


def train_augmented(features: Path, folder: Path) -> dict[str, float]:
    """Clips per second of a small network with all augmentation of the presets."""
    return train_ours(features, folder, "tc_resnet", **AUGMENTED)


def input_augmented(features: Path, folder: Path) -> dict[str, float]:  # noqa: ARG001 (one interface)
    """Clips per second of the same input, without a network."""
    from kws.core.params import load_params
    from kws.records.spec import FeatureSpec
    from kws.records.write import read_background_power
    from kws.train import training
    from kws.train.augment import Augmenter

    params = load_params(Path(__file__).parent.parent / "params.yaml").model_copy(update=AUGMENTED)
    spec, recipe = FeatureSpec.read(features / "spec.json"), training.Recipe.from_params(params)
    training.make_deterministic(1, threads=2)
    augmenter = Augmenter(recipe.augmentation, spec.front_end, read_background_power(features, "train"))
    seconds = []
    for epoch in range(EPOCHS):
        started = time.perf_counter()
        for _ in training.smoothed_clips(features, spec, recipe, epoch, augmenter):
            pass
        seconds.append(time.perf_counter() - started)
    return {"clips a second": spec.clips["train"] / float(np.median(seconds[1:]))}


def plain_fit(features: Path, folder: Path) -> dict[str, float]:
    """Clips per second of the tutorial's network with `model.fit`, on float32 arrays in memory."""
    import keras
    import tensorflow as tf

    spec = json.loads((features / "spec.json").read_text())
    kinds = {"mel_power": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    shape = (spec["frames"] + 2 * spec["margin"], spec["mel_bins"], 1)

    def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
        records = tf.data.TFRecordDataset(sorted(str(path) for path in features.glob(f"{split}-*")))
        clips = [tf.io.parse_single_example(record, kinds) for record in records]
        power = [np.frombuffer(clip["mel_power"].numpy(), "<f4").reshape(shape) for clip in clips]
        inside = np.stack(power)[:, spec["margin"] : spec["margin"] + spec["frames"]]
        return np.log(inside + np.float32(1e-7)), np.array([clip["label"].numpy() for clip in clips])

    (x, y), validation = arrays("train"), arrays("validation")
    layers = keras.layers
    normalization = layers.Normalization()
    normalization.adapt(x)
    model = keras.Sequential(
        [
            layers.Input(x.shape[1:]),
            layers.Resizing(32, 32),
            normalization,
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(len(spec["classes"])),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    best = keras.callbacks.ModelCheckpoint(folder / "best.weights.h5", save_best_only=True, save_weights_only=True)
    model.fit(x, y, BATCH, EPOCHS, validation_data=validation, callbacks=[best, clock], verbose=0)
    return {"clips a second": len(x) / float(np.median(np.diff(ends)))}


def products(features: Path, folder: Path) -> dict[str, float]:  # noqa: ARG001 (one interface)
    """Clips per second of the matrix products in that network: forward, and twice as many backward."""
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    shapes = [(BATCH * 900, 9, 32), (BATCH * 784, 288, 64), (BATCH, 12_544, 128), (BATCH, 128, 10)]
    pairs = [(rng.random((m, k), np.float32), rng.random((k, n), np.float32)) for m, k, n in shapes]
    pairs += [(a.T, np.zeros((len(a), b.shape[1]), np.float32)) for a, b in pairs]
    pairs += [(np.zeros((m, n), np.float32), rng.random((n, k), np.float32)) for m, k, n in shapes[1:]]
    seconds = []
    with threadpool_limits(2):
        for _ in range(10):
            started = time.perf_counter()
            for a, b in pairs:
                a @ b
            seconds.append(time.perf_counter() - started)
    return {"clips a second": BATCH / float(np.median(seconds))}


CONTENDERS: dict[str, Callable[[Path, Path], dict[str, float] | None]] = {
    work.__name__: work
    for work in (
        *(ours, tutorial, batched, librosa, torch, floors),
        *(train_ours, plain_fit, products, train_augmented, input_augmented),
    )
}

if __name__ == "__main__":
    _, contender, source, results = sys.argv
    folder = Path(results)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    print(json.dumps(CONTENDERS[contender](Path(source), folder) or {}))
