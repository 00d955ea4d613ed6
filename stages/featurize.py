"""featurize: compute the Mel power of all clips and background recordings of the experiment, and split the clips.

Reads data/raw. Writes data/features (TFRecords, background.npz, spec.json, manifest.csv), metrics/featurize.json and
plots/features.
"""

import itertools
import shutil
from functools import partial
from pathlib import Path

from kws.audio.cut import Cut
from kws.audio.frontend import FrontEnd
from kws.core import paths, stage
from kws.core.address import public_address
from kws.core.files import csv_rows, csv_writer, folder_written_whole, write_json
from kws.core.naming import COMPUTED, is_computed
from kws.core.parallel import chosen_cluster
from kws.core.params import Params, load_params
from kws.featurize import shards
from kws.featurize.report import MANIFEST_COLUMNS, Report, left_out_row
from kws.featurize.splits import check_classes, check_unheard, choose
from kws.featurize.write import Recipe, write_features
from kws.plots.figures import clip_figure, mel_grid_figure, mel_matrix_figure, save_figure
from kws.recordings import background
from kws.recordings.clips import SPLITS, UNHEARD, check_unusable, read_clips
from kws.recordings.manifest import read_waveforms
from kws.recordings.source import DataSource
from kws.records.clips import cached_clip
from kws.records.spec import FeatureSpec
from kws.records.write import write_background_power

SHOWN = 12  # classes in the grid of samples
UNUSABLE = "unusable.csv"


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
        [
            *(read_clips(paths.COMPUTED_CLIPS) if source.computed else ()),
            *(read_clips(paths.OTHER_SPEECH_CLIPS) if source.other_speech else ()),
        ],
    )
    front_end = FrontEnd.from_params(params)
    noises, noise_remarks = background.read_background(archive, recordings, front_end)
    recipe = Recipe(front_end, _cuts(source, params), {name: label for label, name in enumerate(params.classes)})
    asked_for = sum(
        number for (_, split, computed), number in selection.tally.items() if split in SPLITS and not computed
    )
    cluster = chosen_cluster()
    write = partial(shards.write_features, where=cluster) if cluster else write_features
    report = Report(params.words, source.unheard)
    with folder_written_whole(paths.FEATURES) as folder:
        with (
            csv_writer(folder / paths.MANIFEST.name, MANIFEST_COLUMNS) as manifest,
            csv_writer(folder / UNUSABLE, MANIFEST_COLUMNS) as set_aside,
        ):
            left_out = (left_out_row(choice, reason) for choice, reason in selection.left_out)
            for row in itertools.chain(write(folder, selection.clips, source, noises, recipe), left_out):
                manifest.writerow(row)
                if report.add(row):
                    set_aside.writerow(row)
        unusable = paths.scratch("featurize") / UNUSABLE  # stays where the stage stops and writes no manifest
        shutil.move(folder / UNUSABLE, unusable)
        _check_unusable(unusable, asked_for, params.max_unusable_share)
        check_classes(report.usable, params)
        check_unheard(report.usable, params)
        write_background_power(folder, background.mel_power(noises, front_end))
        counts = {split: number for split in (*SPLITS, *UNHEARD.values()) if (number := report.clips(split))}
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

    _draw(report, front_end, params, source)
    computed = {f"computed_{split}": number for split in SPLITS if (number := report.clips(split, computed=True))}
    write_json(paths.METRICS / "featurize.json", counts | computed | {"set_aside": report.set_aside})
    for remark in selection.remarks:
        print(remark)
    print(f"{sum(counts.values())} clips: " + ", ".join(f"{number} {split}" for split, number in counts.items()))
    for line in report.lines(noise_remarks, paths.MANIFEST):
        print(line)


def _draw(report: Report, front_end: FrontEnd, params: Params, source: DataSource) -> None:
    """Draws the Mel filters, a clip of each class, and one clip closely."""
    with folder_written_whole(paths.PLOTS / "features") as folder:
        save_figure(mel_matrix_figure(front_end.weights, front_end.sample_rate), folder / "mel_matrix.png")
        with_examples = [name for name in params.classes if name in report.examples]  # _unknown_ may be all unusable
        rows = {name: report.examples[name] for name in with_examples[:SHOWN]}
        log_mels = {
            name: cached_clip(paths.FEATURES, row["split"], row["name"], row["recording"], front_end).log_mel
            for name, row in rows.items()
        }
        partly = any(is_computed(row["name"]) for row in rows.values())
        save_figure(
            mel_grid_figure(log_mels, front_end, "partly" if partly else source.synthetic), folder / "mel_grid.png"
        )
        [(_, waveform)] = read_waveforms([report.shown], source, front_end.sample_rate, params.clip_seconds)
        title = stage.voices_title(report.shown["word"], source.synthetic or is_computed(report.shown["recording"]))
        save_figure(clip_figure(waveform, front_end, title), folder / "clip.png")


def _cuts(source: DataSource, params: Params) -> dict[Path, Cut]:
    """How the recordings of each archive become clips."""
    computed = [source.archive_of("train", COMPUTED), *map(source.archive_of, UNHEARD.values())]
    people = {"test": params.test_dataset, "train": params.dataset}  # these count where nothing is computed
    return dict.fromkeys(computed, params.cut_of("synthetic")) | {
        source.archive_of(split): params.cut_of(dataset) for split, dataset in people.items()
    }


def _check_unusable(unusable: Path, clips: int, share: float) -> None:
    """Checks recordings of people: computed ones would make the share smaller."""
    rows = (row for row in csv_rows(unusable) if row["split"] in SPLITS and not is_computed(row["recording"]))
    check_unusable(((row["recording"], row["reason"]) for row in rows), clips, share, unusable)


if __name__ == "__main__":
    stage.run(main, __doc__)
