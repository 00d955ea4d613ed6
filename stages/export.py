"""export: turn the trained network into LiteRT files that take a waveform, and refuse them where they answer otherwise.

Reads models/kws.keras, metrics/evaluate.json (the threshold), data/features and data/raw, writes models/export
(kws.tflite, kws_int8.tflite, kws_features.tflite, the front end's tables in front_end.npz, and for microcontrollers
all of that in kws_model.h) and metrics/export.json.
Latency depends on the machine, and goes to MLflow alone.
"""

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.core import paths, stage
from kws.core.files import folder_written_whole, read_json, write_json
from kws.core.params import load_params
from kws.export import parity
from kws.export.c_header import header
from kws.export.flatbuffer import peak_memory
from kws.recordings import background
from kws.recordings.clips import read_clips
from kws.recordings.manifest import archive_of
from kws.spotting.litert import Network
from kws.spotting.spotter import Spotter
from kws.tracking.run import tracked_run


def main() -> None:
    """A trained network in, files for devices out."""
    params = load_params()
    with tracked_run(params, "export") as run:  # before TensorFlow: MLflow gets ready meanwhile
        from kws.evaluate.scores import answer_clips
        from kws.export.convert import KINDS, convert_network
        from kws.train import models

        model, spec = models.load_model(paths.MODEL)
        source, front_end = read_json(paths.SOURCE), FrontEnd.from_spec(spec)
        evaluated = read_json(paths.METRICS / "evaluate.json")
        detection = {
            "threshold": evaluated["stream_threshold"],
            "false_alarms_an_hour": params.false_alarms_an_hour,
            "test_false_alarms_an_hour": evaluated["stream_false_alarms_an_hour"],
            "test_hours": evaluated["stream_hours"],
        }
        recordings = read_clips(paths.CLIPS)
        noises = background.read_background(archive_of(source, "train"), recordings, front_end.sample_rate)

        keras = answer_clips(model, paths.FEATURES, "test", spec)
        place = {name: number for number, name in enumerate(keras.names)}
        files = convert_network(model, paths.FEATURES, spec, detection)
        networks = {kind: Network(content) for kind, content in files.items()}

        clips = (paths.MANIFEST, archive_of(source, "test"), noises, front_end)
        answers = parity.ask(networks, parity.waveforms(*clips), place, front_end)
        heard, windows = parity.slide(Spotter(networks["float32"]), parity.waveforms(*clips), place)

        scores = {"test_clips": len(place), "keras_accuracy": _accuracy(keras.predicted, keras.labels)}
        for kind, content in files.items():
            scores |= parity.figures(kind, answers[kind].probabilities, keras.probabilities, keras.labels)
            scores |= {f"{kind}_bytes": len(content), f"{kind}_peak_memory_bytes": peak_memory(content)}
        scores |= parity.figures("stream", windows, keras.probabilities[heard], keras.labels[heard])
        whole = _accuracy(keras.predicted[heard], keras.labels[heard])
        scores |= {"stream_clips": len(heard), "stream_keras_accuracy": whole}
        parity.check(scores)

        with folder_written_whole(paths.EXPORT) as folder:
            for kind, content in files.items():
                (folder / KINDS[kind]).write_bytes(content)
            np.savez(folder / "front_end.npz", window=front_end.window, mel_weights=front_end.weights)
            (folder / "kws_model.h").write_text(header(files["features"], front_end), encoding="utf-8")
        write_json(paths.METRICS / "export.json", scores)
        run.log_figures({f"export/{kind}_latency_ms": 1e3 * np.median(answers[kind].seconds) for kind in files})
    for kind in files:
        print(
            f"{KINDS[kind]}: {scores[f'{kind}_bytes']:,} bytes, test accuracy {scores[f'{kind}_accuracy']:.1%}, "
            f"Keras's label for {scores[f'{kind}_agreement']:.1%} of the clips"
        )


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    return round(float((predicted == labels).mean()), 6)


if __name__ == "__main__":
    stage.run(main, __doc__)
