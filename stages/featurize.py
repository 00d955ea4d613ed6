"""featurize: compute the Mel power of all clips and background recordings of the experiment, and split the clips.

Reads data/raw. Writes data/features (TFRecords, background.npz, spec.json, manifest.csv), metrics/featurize.json and
plots/features.
"""

from collections import Counter
from typing import Any

import numpy as np
from tqdm import tqdm

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_clip
from kws.audio.frontend import FrontEnd
from kws.core import paths, stage
from kws.core.address import public_address
from kws.core.files import folder_written_whole, read_json, write_csv, write_json
from kws.core.params import load_params
from kws.featurize.compute import compute_chosen
from kws.featurize.splits import Chosen, check_classes, choose
from kws.plots.figures import clip_figure, mel_grid_figure, mel_matrix_figure, save_figure
from kws.recordings import background
from kws.recordings.archive import read_members
from kws.recordings.clips import check_unusable, read_clips
from kws.recordings.manifest import archive_of
from kws.records.write import RecordWriter, write_background_power

MANIFEST_COLUMNS = ("name", "word", "class", "speaker", "split", "samples", "status", "reason")
SHOWN = 12  # classes in the grid of samples


def main() -> None:
    """Parameters and recordings in, features out."""
    params = load_params()
    source = read_json(paths.SOURCE)
    archive, recordings = archive_of(source, "train"), read_clips(paths.CLIPS)
    selection = choose(recordings, read_clips(paths.TEST_CLIPS) if source["test"] else None, params)
    chosen = selection.clips
    front_end = FrontEnd.from_params(params)
    noises = background.read_background(archive, recordings, front_end.sample_rate)

    manifest, usable, reasons = [], [], []
    examples: dict[str, np.ndarray] = {}  # the first clip of each class
    with folder_written_whole(paths.FEATURES) as folder:
        with RecordWriter(folder, Counter(choice.split for choice in chosen)) as records:
            computed = compute_chosen(chosen, source, noises, front_end)
            for choice, features in tqdm(computed, "featurize", len(chosen), unit="clip", disable=None):
                clip, label = choice.clip, params.classes.index(choice.label)
                if features.mel_power is None:
                    reasons.append(features.reason)
                else:
                    usable.append(choice)
                    examples.setdefault(choice.label, features.mel_power)
                    records.write(choice.split, clip.name, clip.speaker, label, features.mel_power)
                manifest.append(_row(choice, features.samples, features.reason))
        manifest += [_row(choice, 0, reason) for choice, reason in selection.left_out.items()]
        check_unusable(reasons, len(chosen), params.max_unusable_share)
        check_classes(usable, params)
        write_background_power(folder, background.mel_power(noises, front_end))
        write_csv(folder / paths.MANIFEST.name, manifest, MANIFEST_COLUMNS)
        counts = Counter(choice.split for choice in usable)
        origin = {"dataset": public_address(params.dataset)}
        origin["test_dataset"] = public_address(params.test_dataset) or origin["dataset"]
        origin |= {name: source[name] for name in ("synthetic", "test_synthetic")}
        write_json(folder / paths.SPEC.name, front_end.spec() | origin | {"classes": params.classes, "clips": counts})

    with folder_written_whole(paths.PLOTS / "features") as folder:
        save_figure(mel_matrix_figure(front_end.weights, front_end.sample_rate), folder / "mel_matrix.png")
        log_mels = {name: front_end.cached_log_mel(examples[name]) for name in params.classes[:SHOWN]}
        save_figure(mel_grid_figure(log_mels, front_end, source["synthetic"]), folder / "mel_grid.png")
        shown = next(choice.clip for choice in usable if choice.split == "train")
        _, data = next(read_members(archive, {shown.name}))
        waveform = cut_or_pad(decode_clip(data or b"", front_end.sample_rate), front_end.clip_samples)
        title = stage.voices_title(shown.word, source["synthetic"])
        save_figure(clip_figure(waveform, front_end, title), folder / "clip.png")
    write_json(paths.METRICS / "featurize.json", counts | {"set_aside": len(reasons)})
    for remark in selection.remarks:
        print(remark)
    print(f"{len(usable)} clips: " + ", ".join(f"{number} {split}" for split, number in counts.items()))
    if reasons:
        print(f"{len(reasons)} more were set aside; {paths.MANIFEST} has the reasons")


def _row(choice: Chosen, samples: int, reason: str) -> dict[str, Any]:
    """A line of the manifest; a clip with a reason is set aside."""
    clip, status = choice.clip, "set aside" if reason else "ok"
    row = (clip.name, clip.word, choice.label, clip.speaker, choice.split, samples, status, reason)
    return dict(zip(MANIFEST_COLUMNS, row, strict=True))


if __name__ == "__main__":
    stage.run(main, __doc__)
