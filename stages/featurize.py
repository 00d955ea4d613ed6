"""featurize: compute the Mel power of all clips and background recordings of the experiment, and split the clips.

Reads data/raw. Writes data/features (TFRecords, background.npz, spec.json, manifest.csv), metrics/featurize.json and
plots/features.
"""

from collections import Counter

import numpy as np
from tqdm import tqdm

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_clip
from kws.audio.frontend import FrontEnd
from kws.core import paths, stage
from kws.core.address import public_address
from kws.core.files import folder_written_whole, write_csv, write_json
from kws.core.params import load_params
from kws.featurize.compute import compute_chosen
from kws.featurize.splits import choose
from kws.plots.figures import clip_figure, mel_grid_figure, mel_matrix_figure, save_figure
from kws.recordings import background
from kws.recordings.archive import read_members
from kws.recordings.clips import check_splits, check_unusable, read_clips
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec
from kws.records.write import RecordWriter, write_background_power

MANIFEST_COLUMNS = ("name", "word", "class", "speaker", "split", "samples", "status", "reason")
SHOWN = 12  # classes in the grid of samples


def main() -> None:
    """Parameters and recordings in, features out."""
    params = load_params()
    source = DataSource.read(paths.SOURCE)
    archive, recordings = source.archive_of("train"), read_clips(paths.CLIPS)
    chosen = choose(recordings, read_clips(paths.TEST_CLIPS) if source.test else None, params)
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
                status = "set aside" if features.reason else "ok"
                place = (clip.name, clip.word, choice.label, clip.speaker, choice.split)
                row = (*place, features.samples, status, features.reason)
                manifest.append(dict(zip(MANIFEST_COLUMNS, row, strict=True)))
        check_unusable(reasons, len(chosen), params.max_unusable_share)
        check_splits({(choice.label, choice.split) for choice in usable}, params.words, params.split)
        write_background_power(folder, background.mel_power(noises, front_end))
        write_csv(folder / paths.MANIFEST.name, manifest, MANIFEST_COLUMNS)
        counts = Counter(choice.split for choice in usable)
        spec = FeatureSpec(
            front_end,
            dataset=public_address(params.dataset),
            test_dataset=public_address(params.test_dataset or params.dataset),
            synthetic=source.synthetic,
            test_synthetic=source.test_synthetic,
            classes=list(params.classes),
            clips=counts,
        )
        write_json(folder / paths.SPEC.name, spec.to_json())

    with folder_written_whole(paths.PLOTS / "features") as folder:
        save_figure(mel_matrix_figure(front_end.weights, front_end.sample_rate), folder / "mel_matrix.png")
        with_examples = [name for name in params.classes if name in examples]  # all of _unknown_ may be unusable
        log_mels = {name: front_end.cached_log_mel(examples[name]) for name in with_examples[:SHOWN]}
        save_figure(mel_grid_figure(log_mels, front_end, source.synthetic), folder / "mel_grid.png")
        shown = next(choice.clip for choice in usable if choice.split == "train")
        _, data = next(read_members(archive, {shown.name}))
        waveform = cut_or_pad(decode_clip(data or b"", front_end.sample_rate), front_end.clip_samples)
        title = stage.voices_title(shown.word, source.synthetic)
        save_figure(clip_figure(waveform, front_end, title), folder / "clip.png")
    write_json(paths.METRICS / "featurize.json", counts | {"set_aside": len(reasons)})
    print(f"{len(usable)} clips: " + ", ".join(f"{number} {split}" for split, number in counts.items()))
    if reasons:
        print(f"{len(reasons)} more were set aside; {paths.MANIFEST} has the reasons")


if __name__ == "__main__":
    stage.run(main, __doc__)
