"""featurize: compute the Mel power of all clips and background recordings of the experiment, and split the clips.

Reads data/raw. Writes data/features (TFRecords, background.npz, spec.json, manifest.csv), metrics/featurize.json and
plots/features.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kws.audio.cut import Cut
from kws.audio.frontend import FrontEnd
from kws.core import paths, stage
from kws.core.address import public_address
from kws.core.files import csv_writer, folder_written_whole, write_csv, write_json
from kws.core.naming import COMPUTED, is_computed
from kws.core.params import Params, load_params
from kws.featurize.compute import compute_chosen
from kws.featurize.report import MANIFEST_COLUMNS, left_out_row, manifest_row, report_lines
from kws.featurize.splits import Chosen, check_classes, check_unheard, choose
from kws.plots.figures import clip_figure, mel_grid_figure, mel_matrix_figure, save_figure
from kws.recordings import background
from kws.recordings.clips import SPLITS, UNHEARD, check_unusable, read_clips
from kws.recordings.manifest import read_waveforms
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec
from kws.records.write import RecordWriter, write_background_power

SHOWN = 12  # classes in the grid of samples


def main() -> None:
    """Parameters and recordings in, features out."""
    params = load_params()
    source = DataSource.read(paths.SOURCE)
    archive, recordings = source.archive_of("train"), read_clips(paths.CLIPS)
    selection = choose(
        recordings,
        read_clips(paths.TEST_CLIPS) if source.test else None,
        params,
        source.unheard,
        (read_clips(paths.COMPUTED_CLIPS) if source.computed else [])
        + (read_clips(paths.OTHER_SPEECH_CLIPS) if source.other_speech else []),
    )
    chosen = selection.clips
    front_end = FrontEnd.from_params(params)
    noises, noise_remarks = background.read_background(archive, recordings, front_end)
    labels = {name: label for label, name in enumerate(params.classes)}
    usable, set_aside = [], {}
    noted: list[dict[str, str]] = []  # rows of the manifest with a reason or a remark
    shown: dict[str, str] = {}  # the row of the clip in the picture
    examples: dict[str, tuple[np.ndarray, bool]] = {}  # the first clip of each class, and whether it is computed
    with folder_written_whole(paths.FEATURES) as folder:
        with (
            RecordWriter(folder, Counter(choice.split for choice in chosen)) as records,
            csv_writer(folder / paths.MANIFEST.name, MANIFEST_COLUMNS) as manifest,
        ):
            computed = compute_chosen(chosen, source, noises, front_end, _cuts(source, params))
            for choice, clips in tqdm(computed, "featurize", len(chosen), unit="recording", disable=None):
                # Unheard words belong to no class if `_unknown_` is off; their label is not used then
                label = labels.get(choice.label, 0)
                for features in clips:
                    if features.mel_power is None:
                        set_aside[features.recording] = features.reason
                    else:
                        usable.append(choice)
                        if choice.split in SPLITS:
                            cached = features.mel_power if features.exact is None else features.exact
                            examples.setdefault(choice.label, (cached, is_computed(features.name)))
                        records.write(
                            choice.split,
                            features.name,
                            choice.clip.speaker,
                            label,
                            features.mel_power,
                            exact=features.exact,
                        )
                    row = manifest_row(choice, features)
                    manifest.writerow(row)
                    recorded = source.unheard.get(choice.split) != "computed"
                    remarks = "" if is_computed(choice.clip.name) else row["remarks"]
                    noted += [row] if recorded and (row["reason"] or remarks) else []
                    if not shown and (choice.split, row["status"]) == ("train", "ok") and choice.label in params.words:
                        shown = row
            left_out = [left_out_row(choice, reason) for choice, reason in selection.left_out.items()]
            manifest.writerows(left_out)
            noted += left_out
        unusable = paths.scratch("featurize") / "unusable.csv"  # stays where the stage stops and writes no manifest
        write_csv(unusable, (row for row in noted if row["status"] != "ok"), MANIFEST_COLUMNS)
        _check_unusable(chosen, set_aside, params.max_unusable_share, unusable)
        check_classes(usable, params)
        check_unheard(usable, params)
        write_background_power(folder, background.mel_power(noises, front_end))
        found = Counter(choice.split for choice in usable)
        counts = {split: found[split] for split in (*SPLITS, *UNHEARD.values()) if found[split]}
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

    _draw(examples, shown, front_end, params, source)
    write_json(paths.METRICS / "featurize.json", counts | _computed_counts(usable) | {"set_aside": len(set_aside)})
    for remark in selection.remarks:
        print(remark)
    print(f"{len(usable)} clips: " + ", ".join(f"{number} {split}" for split, number in counts.items()))
    for line in report_lines(noted, noise_remarks, paths.MANIFEST):
        print(line)


def _draw(
    examples: Mapping[str, tuple[np.ndarray, bool]],
    shown: dict[str, str],
    front_end: FrontEnd,
    params: Params,
    source: DataSource,
) -> None:
    """Draws the Mel filters, a clip of each class, and one clip closely."""
    with folder_written_whole(paths.PLOTS / "features") as folder:
        save_figure(mel_matrix_figure(front_end.weights, front_end.sample_rate), folder / "mel_matrix.png")
        with_examples = [name for name in params.classes if name in examples]  # all of _unknown_ may be unusable
        log_mels = {name: front_end.cached_log_mel(examples[name][0]) for name in with_examples[:SHOWN]}
        partly = any(computed for _, computed in map(examples.__getitem__, log_mels))
        save_figure(
            mel_grid_figure(log_mels, front_end, "partly" if partly else source.synthetic), folder / "mel_grid.png"
        )
        [(_, waveform)] = read_waveforms([shown], source, front_end.sample_rate, params.clip_seconds)
        title = stage.voices_title(shown["word"], source.synthetic or is_computed(shown["recording"]))
        save_figure(clip_figure(waveform, front_end, title), folder / "clip.png")


def _cuts(source: DataSource, params: Params) -> dict[Path, Cut]:
    """How the recordings of each archive become clips."""
    computed = [source.archive_of("train", COMPUTED), *map(source.archive_of, UNHEARD.values())]
    people = {"test": params.test_dataset, "train": params.dataset}  # these count where nothing is computed
    return dict.fromkeys(computed, params.cut_of("synthetic")) | {
        source.archive_of(split): params.cut_of(dataset) for split, dataset in people.items()
    }


def _computed_counts(usable: Iterable[Chosen]) -> dict[str, int]:
    """How many clips of computed voices that speak beside people each split has, by the name of the figure."""
    found = Counter(choice.split for choice in usable if is_computed(choice.clip.name))
    return {f"computed_{split}": found[split] for split in SPLITS if found[split]}


def _check_unusable(chosen: Sequence[Chosen], set_aside: Mapping[str, str], share: float, unusable: Path) -> None:
    """Checks the recordings of training, validation and test: computed ones would make the share smaller."""
    asked_for = [choice.clip.name for choice in chosen if choice.split in SPLITS and not is_computed(choice.clip.name)]
    names = set(asked_for)
    of_these = {name: reason for name, reason in set_aside.items() if name in names}
    check_unusable(of_these, len(asked_for), share, unusable)


if __name__ == "__main__":
    stage.run(main, __doc__)
