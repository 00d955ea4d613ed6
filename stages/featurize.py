"""featurize: compute the log-Mel spectrogram of every clip of the chosen words, and split the clips.

Reads data/raw, writes data/features (TFRecords, spec.json, manifest.csv), metrics/featurize.json and plots/features.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from tqdm import tqdm

from kws import corpus, paths, plots, stage
from kws.archive import read_members
from kws.audio import UnusableClipError, decode_clip, fit
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
    corpus.check_splits(clips, split_of, params.words)
    front_end = FrontEnd.from_params(params)

    from kws.dataset import RecordWriter  # TensorFlow: not before all of that is known to be good

    clip_of = {clip.name: clip for clip in clips}
    examples = dict.fromkeys(_examples(clips, params.words), b"")
    manifest, usable, reasons = [], [], []
    with folder_written_whole(paths.FEATURES) as folder:
        with RecordWriter(folder, Counter(split_of.values())) as records:
            recordings = _remember(read_members(paths.RAW / source["archive"], clip_of), examples)
            for features in tqdm(
                compute_all(recordings, front_end), "featurize", len(clips), unit="clip", disable=None
            ):
                clip, split = clip_of[features.name], split_of[features.name]
                if features.log_mel is None:
                    reasons.append(features.reason)
                else:
                    usable.append(clip)
                    records.write(split, clip.name, clip.speaker, params.words.index(clip.word), features.log_mel)
                status = "set aside" if features.reason else "ok"
                row = (clip.name, clip.word, clip.speaker, split, features.samples, status, features.reason)
                manifest.append(dict(zip(MANIFEST_COLUMNS, row, strict=True)))
        corpus.check_unusable(reasons, len(clips), params.max_unusable_share)
        corpus.check_splits(usable, split_of, params.words)
        counts = Counter(split_of[clip.name] for clip in usable)
        write_csv(folder / paths.MANIFEST.name, manifest, MANIFEST_COLUMNS)
        about = {"dataset": params.dataset, "synthetic": source["synthetic"], "words": params.words, "clips": counts}
        write_json(folder / paths.SPEC.name, front_end.spec() | about)

    _draw(examples, clip_of, front_end, source["synthetic"])
    write_json(paths.METRICS / "featurize.json", counts | {"set_aside": len(reasons)})
    print(f"{len(usable)} clips: " + ", ".join(f"{counts[split]} {split}" for split in corpus.SPLITS))
    if reasons:
        print(f"{len(reasons)} more were set aside, with the reason in {paths.MANIFEST}")


def _examples(clips: list[corpus.Clip], words: Sequence[str]) -> list[str]:
    """The first clip of each of the first words: what the pictures show."""
    first = {clip.word: clip.name for clip in reversed(clips)}
    return [first[word] for word in words[:SHOWN]]


def _remember(
    recordings: Iterable[tuple[str, bytes | None]], examples: dict[str, bytes]
) -> Iterator[tuple[str, bytes | None]]:
    """Passes the recordings on, and keeps those that the pictures show."""
    for name, data in recordings:
        if name in examples and data:
            examples[name] = data
        yield name, data


def _draw(examples: dict[str, bytes], clip_of: dict[str, corpus.Clip], front_end: FrontEnd, synthetic: bool) -> None:
    """The pictures of the front end: the Mel matrix, one clip on its way through, a clip of each word."""
    waveforms = {}
    for name, data in examples.items():
        with suppress(UnusableClipError):  # the manifest names it, with its reason
            waveforms[clip_of[name].word] = fit(decode_clip(data, front_end.sample_rate), front_end.clip_samples)
    with folder_written_whole(paths.PLOTS / "features") as folder:
        plots.save(plots.mel_matrix_figure(front_end.weights, front_end.sample_rate), folder / "mel_matrix.png")
        if waveforms:
            word, waveform = next(iter(waveforms.items()))
            title = plots.voices_title(word, synthetic)
            figure = plots.clip_figure(
                waveform, front_end.power(waveform), front_end.log_mel(waveform), front_end, title
            )
            plots.save(figure, folder / "clip.png")
            log_mels = {word: front_end.log_mel(waveform) for word, waveform in waveforms.items()}
            plots.save(plots.mel_grid_figure(log_mels, front_end, synthetic), folder / "mel_grid.png")


if __name__ == "__main__":
    stage.run(main, __doc__)
