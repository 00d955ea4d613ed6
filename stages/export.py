"""export: convert the trained network to LiteRT files, and refuse files that answer otherwise than the network.

Reads models/kws.keras, models/network.tflite, models/network_int8.tflite, metrics/evaluate.json (the thresholds, and
what 8 bits lose in noise and in the stream), data/features and data/raw. Writes metrics/export.json and models/export:
kws.tflite, kws_int8.tflite, kws_features.tflite, the front end's tables in front_end.npz, and for microcontrollers
network and tables in kws_model.h. Latency depends on the machine, so it is only in MLflow.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from kws.audio.frontend import BLAS_THREADS
from kws.core import paths, stage
from kws.core.files import folder_written_whole, read_json, require_exists, write_json
from kws.core.naming import file_name
from kws.core.params import load_params
from kws.export import esphome, parity
from kws.export.c_header import header
from kws.export.detection import detection
from kws.export.operations import cost, uncounted
from kws.export.reference import keras_answers
from kws.recordings import background
from kws.recordings.clips import read_clips
from kws.recordings.source import DataSource
from kws.spotting.detect import Timing
from kws.spotting.litert import KINDS
from kws.tracking.run import tracked_run


def main() -> None:
    """A trained network in, files for devices out."""
    params = load_params()
    with tracked_run(params, "export") as run, threadpool_limits(BLAS_THREADS):  # MLflow starts beside TensorFlow
        from kws.export.convert import convert_network
        from kws.train import models, training

        training.make_deterministic(seed=0, threads=params.threads)  # nothing is drawn here; the rest is as in training
        model, spec = models.load_model(paths.MODEL)
        source, front_end = DataSource.read(paths.SOURCE), spec.front_end
        evaluated = read_json(paths.METRICS / "evaluate.json")
        recordings = read_clips(paths.CLIPS)
        noises, _ = background.read_background(source.archive_of("train"), recordings, front_end, ("test",))

        keras = keras_answers(models.embedding_and_probabilities(model), paths.FEATURES, spec)
        position = {name: number for number, name in enumerate(keras.names)}
        network, int8 = (require_exists(path).read_bytes() for path in (paths.NETWORK, paths.NETWORK_INT8))
        streams = [path.read_bytes() for path in (paths.STREAM_NETWORK, paths.STREAM_NETWORK_INT8) if path.exists()]
        files = convert_network(network, int8, spec, detection(evaluated), streams)

        clips = parity.heard_again(paths.MANIFEST, source, noises["test"], front_end)
        exported = parity.examine(files, clips, position, front_end, params.threads)
        streamed = exported.streamed
        answers_a_second = front_end.sample_rate / Timing.of(front_end.clip_samples, front_end.hop_length).step_samples

        scores = {
            "test_clips": len(position),
            "keras_accuracy": _accuracy(keras.probabilities.argmax(axis=1), keras.labels),
            "answers_a_second": round(answers_a_second, 6),
        }
        for kind, content in files.items():
            scores |= parity.figures(kind, exported.answers[kind].probabilities, keras.probabilities, keras.labels)
            if kind in parity.EIGHT_BITS:
                scores[f"{kind}_undecided"] = parity.undecided(
                    exported.answers[kind].probabilities, keras.probabilities
                )
            scores |= {f"{kind}_{what}": value for what, value in cost(content, answers_a_second).items()}
            if "features" in kind and (arena := esphome.arena_bytes(content)) is not None:  # for microcontrollers
                scores[f"{kind}_arena_bytes"] = arena
        whole_clips, labels = keras.probabilities[streamed], keras.labels[streamed]
        scores |= parity.figures("sliding", exported.windows, whole_clips, labels)
        accuracy = _accuracy(whole_clips.argmax(axis=1), labels)
        scores |= {"sliding_clips": len(streamed), "sliding_keras_accuracy": accuracy}
        doubts = parity.check(scores, evaluated)

        on_devices = read_json(paths.METRICS / "devices.json")
        words = {word: (paths.DEVICES / f"{file_name(word)}.tflite").read_bytes() for word in on_devices}
        about_words: list[str] = []

        with folder_written_whole(paths.EXPORT) as folder:
            for kind, content in files.items():
                (folder / KINDS[kind]).write_bytes(content)
            if front_end.kind == "log_mel":  # devices have the other one in fixed point
                np.savez(folder / "front_end.npz", window=front_end.window, mel_weights=front_end.weights)
                model = files.get("stream_features", files["features"])
                (folder / "kws_model.h").write_text(header(model, front_end), encoding="utf-8")
            if words:
                costs, about_words = esphome.write_pairs(folder / "esphome", words, on_devices, params.language)
                scores |= costs
        write_json(paths.METRICS / "export.json", scores)
        run.log_figures(
            {f"export/{kind}_latency_ms": 1e3 * np.median(exported.answers[kind].seconds) for kind in files}
        )
    for line in doubts + about_words:
        print(line)
    for kind, content in files.items():
        if unknown := uncounted(content):
            print(f"{KINDS[kind]}: no multiplications, since kws.export.operations does not know {', '.join(unknown)}")
        print(
            f"{KINDS[kind]}: {scores[f'{kind}_bytes']:,} bytes, test accuracy {scores[f'{kind}_accuracy']:.1%}, "
            f"Keras's label for {scores[f'{kind}_agreement']:.1%} of the clips"
        )


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    return round(float((predicted == labels).mean()), 6)


if __name__ == "__main__":
    stage.run(main, __doc__)
