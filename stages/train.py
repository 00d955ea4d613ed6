"""train: fit the network to the training clips, and keep the weights of the best epoch on the validation clips.

Reads data/features, and the network that parameter `pretrained` names, if training begins with one; with few clips the
last layer alone is trained then. Writes models/kws.keras, the same network as models/network.tflite and in 8 bits as
models/network_int8.tflite, a causal one also as models/streams, where it hears step by step, metrics/train.json and
plots/train/history.csv. MLflow shows the progress by epoch. If a training was killed, the stage resumes it after its
last whole epoch. Several machines train together where KWS_TRAIN_WORKERS names them (docs/training-workers.md).
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from kws.core import paths, stage
from kws.core.errors import UserError
from kws.core.files import csv_rows, folder_written_whole, remove_folder, write_csv, write_json, written_whole
from kws.core.naming import file_name
from kws.core.params import Params, load_params
from kws.records.spec import FeatureSpec

if TYPE_CHECKING:
    from kws.train.pretrained import Pretrained
from kws.tracking.run import tracked_run


def main() -> None:
    """Features in, a trained model out."""
    params = load_params()
    with tracked_run(params, "train") as run:  # before TensorFlow is imported: MLflow starts at the same time
        from kws.train import head, networks, pretrained, training, workers

        spec = FeatureSpec.read(paths.SPEC)
        recipe = training.Recipe.from_params(params)
        training.make_deterministic(params.seed, params.threads)
        team = workers.join(paths.FEATURES, params, recipe)  # None: this process trains alone
        with workers.scope(team):
            model = networks.NETWORKS[params.model](
                spec.front_end.frames, spec.front_end.mel_bins, len(spec.classes), params.width, causal=params.causal
            )
            start = pretrained.read_embedding(params.pretrained, spec, params) if params.pretrained else None
            if start:
                start.give_to(model)
        recordings = head.recordings_a_word(paths.MANIFEST, spec) if start else float("inf")
        last_layer_alone = recordings < head.FEW
        if team and last_layer_alone:
            raise UserError("KWS_TRAIN_WORKERS is set, but the last layer alone is trained, in seconds: unset it")
        train: Any = partial(workers.train_model, team) if team else training.train_model
        train = partial(train, model, paths.FEATURES, spec, recipe=recipe, pretrained=bool(start))
        if team and not team.place.is_chief:
            train()
            return  # the chief writes
        network = f"{params.model} {params.width} {params.causal} {start and start.digest}"
        if team:
            network += f" {team.workers} workers"
        checkpoint = paths.scratch("training") / training.fingerprint(paths.FEATURES, network, recipe)

        with FileLock(f"{checkpoint}.lock"):  # two experiments of a queue may need the same training
            run.start_training(new=not training.interrupted_training(checkpoint))
            figures: dict[str, Any] = {}
            if start:
                print(_says(start.name, recordings, head.FEW))
                figures = {"pretrained": start.digest[:16], "pretrained_licence": start.licence}
                figures |= _heard_before(start)
            if last_layer_alone:
                epoch, figures["head_strength"] = head.train_head(model, paths.FEATURES, spec, recipe)
                run.log_epoch(epoch)
                history = [epoch]
            else:
                model, history = train(checkpoint=checkpoint, on_epoch=run.log_epoch)
            best = training.best_epoch(history, params.schedule)
            _write_networks(model, spec, params)
            if team:
                figures |= {"workers": team.workers}
            figures |= {"epochs": len(history), "best_epoch": best["epoch"], "parameters": model.count_params()}
            write_json(paths.METRICS / "train.json", figures | {k: v for k, v in best.items() if k != "epoch"})
            write_csv(paths.HISTORY, history, list(best))
            if checkpoint.exists():
                remove_folder(checkpoint)
    kept, accuracy = best["epoch"], best["validation_accuracy"]
    result = f"kept are the weights of epoch {kept} of {len(history)}: validation accuracy {accuracy:.1%}"
    print(stage.voices_title(result, spec.synthetic))


def _heard_before(start: "Pretrained") -> dict[str, int]:
    """Whether the network that training begins with has heard people of validation and test: a line, and a figure."""
    asked = {row["speaker"] for row in csv_rows(paths.MANIFEST) if row["split"] in ("validation", "test")}
    again = start.heard_of(asked)
    if again is None:
        print(f"{start.name} does not say whom it has heard; if people of validation or test, figures are too good")
        return {}
    print(f"{start.name} has heard {len(again)} of the {len(asked)} people of validation and test")
    return {"pretrained_heard": len(again)}


def _says(start: str, recordings: float, few: int) -> str:
    """Which layers are trained, and why."""
    layers = f"fewer than {few}: the last layer alone is trained" if recordings < few else "so all layers are trained"
    return f"training begins with the weights of {start}; an average word has {recordings:.3g} recordings, {layers}"


def _write_networks(model: Any, spec: FeatureSpec, params: Params) -> None:
    """Writes the model, and the network in all forms that evaluate and export need."""
    from kws.spotting.detect import Timing
    from kws.train import device, litert, models

    network = {"model": params.model, "width": params.width, "causal": params.causal}
    models.save_model(model, paths.MODEL, spec, network)
    with written_whole(paths.NETWORK) as partial:
        partial.write_bytes(litert.network_file(model))
    calibration = litert.calibration_clips(paths.FEATURES, spec)
    with written_whole(paths.NETWORK_INT8) as partial:
        partial.write_bytes(litert.network_int8_file(model, calibration))
    with folder_written_whole(paths.STREAMS) as partial:
        if params.causal:
            step = Timing.of(spec.front_end.clip_samples, spec.front_end.hop_length).step_frames
            (partial / paths.STREAM_NETWORK.name).write_bytes(litert.stream_file(model, step))
            content = litert.stream_int8_file(model, step, calibration)
            (partial / paths.STREAM_NETWORK_INT8.name).write_bytes(content)
            if spec.front_end.kind == "micro":
                float32 = litert.stream_file(model, device.device_step(model))
                (partial / paths.DEVICE_FLOAT32.name).write_bytes(float32)
                (partial / paths.DEVICES.name).mkdir()
                for number, word in enumerate(params.words):
                    content = device.device_file(model, number, calibration)
                    (partial / paths.DEVICES.name / f"{file_name(word)}.tflite").write_bytes(content)
        else:
            reason = f"Nothing is here: {params.model} has causal: false, so that it hears whole clips only.\n"
            (partial / "README.txt").write_text(reason)


if __name__ == "__main__":
    stage.run(main, __doc__)
