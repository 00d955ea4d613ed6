"""featurize: compute the log-Mel spectrogram of every clip of the chosen words, and split the clips.

Reads data/raw, writes data/features (TFRecords, spec.json, manifest.csv), metrics/featurize.json and plots/features.
"""

from collections import Counter

import numpy as np
from tqdm import tqdm

from kws import corpus, paths, plots, stage
from kws.archive import read_members
from kws.audio import decode_clip, fit
from kws.features import compute_all
from kws.files import folder_written_whole, read_json, write_csv, write_json
from kws.frontend import FrontEnd
from kws.params import load_params

MANIFEST_COLUMNS = ("name", "word", "speaker", "split", "samples", "status", "reason")
SHOWN = 12  # words in the grid of samples


def main() -> None:
    """Parameters and recordings in, features out."""
    params = load_params()
    source = read_json(paths.SOURCE)
    clips = corpus.choose_words(corpus.list_clips(paths.CLIPS.read_text(encoding="utf-8").splitlines()), params.words)
    split_of = corpus.split_clips(clips, params.split, params.seed)
    corpus.check_splits(clips, split_of, params.words, params.split)
    front_end = FrontEnd.from_params(params)

    from kws.dataset import RecordWriter  # TensorFlow: not before all of that is known to be good

    clip_of = {clip.name: clip for clip in clips}
    archive = paths.RAW / source["archive"]
    manifest, usable, reasons = [], [], []
    examples: dict[str, np.ndarray] = {}  # the first clip of each word
    with folder_written_whole(paths.FEATURES) as folder:
        with RecordWriter(folder, Counter(split_of.values())) as records:
            computed = compute_all(read_members(archive, clip_of), front_end)
            for features in tqdm(computed, "featurize", len(clips), unit="clip", disable=None):
                clip, split = clip_of[features.name], split_of[features.name]
                if features.log_mel is None:
                    reasons.append(features.reason)
                else:
                    usable.append(clip)
                    examples.setdefault(clip.word, features.log_mel)
                    records.write(split, clip.name, clip.speaker, params.words.index(clip.word), features.log_mel)
                status = "set aside" if features.reason else "ok"
                row = (clip.name, clip.word, clip.speaker, split, features.samples, status, features.reason)
                manifest.append(dict(zip(MANIFEST_COLUMNS, row, strict=True)))
        corpus.check_unusable(reasons, len(clips), params.max_unusable_share)
        corpus.check_splits(usable, split_of, params.words, params.split)
        counts = Counter(split_of[clip.name] for clip in usable)
        write_csv(folder / paths.MANIFEST.name, manifest, MANIFEST_COLUMNS)
        about = {"dataset": params.dataset, "synthetic": source["synthetic"], "words": params.words, "clips": counts}
        write_json(folder / paths.SPEC.name, front_end.spec() | about)

    with folder_written_whole(paths.PLOTS / "features") as folder:
        plots.save(plots.mel_matrix_figure(front_end.weights, front_end.sample_rate), folder / "mel_matrix.png")
        log_mels = {word: examples[word] for word in params.words[:SHOWN]}
        plots.save(plots.mel_grid_figure(log_mels, front_end, source["synthetic"]), folder / "mel_grid.png")
        _, data = next(read_members(archive, {usable[0].name}))
        waveform = fit(decode_clip(data or b"", front_end.sample_rate), front_end.clip_samples)
        title = plots.voices_title(usable[0].word, source["synthetic"])
        plots.save(plots.clip_figure(waveform, front_end, title), folder / "clip.png")
    write_json(paths.METRICS / "featurize.json", counts | {"set_aside": len(reasons)})
    print(f"{len(usable)} clips: " + ", ".join(f"{counts[split]} {split}" for split in corpus.SPLITS))
    if reasons:
        print(f"{len(reasons)} more were set aside, with the reason in {paths.MANIFEST}")


if __name__ == "__main__":
    stage.run(main, __doc__)
