"""download: get the data set as one archive, check all of it, list its clips.

Reads from the network, a file or a folder. Writes data/raw (the archive, source.json, clips.txt, and test/ with the
test data set) and metrics/download.json.
"""

import math
from pathlib import Path

from kws.core import paths, stage
from kws.core.errors import UserError
from kws.core.files import folder_written_whole, write_json, written_whole
from kws.core.params import Params, load_params
from kws.download import sources
from kws.recordings import archive
from kws.recordings.clips import Clip, choose_words, list_clips, look_alikes, speaker_naming, words_of
from kws.recordings.source import Archive, DataSource

VOICES_SEED = 1  # not the parameter `seed`: another seed means another training on the same recordings


def main() -> None:
    """Parameters in, archives out."""
    params = load_params()
    synthetic = params.dataset == sources.SYNTHETIC
    others = _others(params) if synthetic else []
    with folder_written_whole(paths.RAW) as folder:
        obtained = _obtain(folder, params, others)
        recordings = _list(folder / obtained.archive, folder / paths.CLIPS.name)
        choose_words(recordings, params.words)  # refuses a word without clips
        clips = [clip for clip in recordings if not clip.word.startswith("_")]  # others: noise, silence, mixtures
        words, naming = words_of(clips), speaker_naming(clips)
        source = DataSource(
            **vars(obtained),
            synthetic=synthetic,
            speakers=naming,
            words=words,
            clips=len(clips),
            test=_obtain_test(folder / paths.TEST_RAW.name, params) if params.test_dataset else None,
            test_synthetic=synthetic and not params.test_dataset,
        )
        write_json(folder / paths.SOURCE.name, source.to_json())

    counts = {"clips": len(clips), "words": len(words), "speakers": len({clip.speaker for clip in clips})}
    write_json(paths.METRICS / "download.json", counts | {"bytes": source.bytes, "synthetic": int(synthetic)})
    _watch(paths.LOCAL_SOURCE, sources.own_path(params.dataset))
    _watch(paths.LOCAL_TEST, sources.own_path(params.test_dataset) if params.test_dataset else None)
    print(f"{source.address}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    if "://" in source.address and not source.checked:
        print(f"Its SHA-256 was not checked, since dataset_sha256 is empty. It is {source.sha256}")
    for word, chosen in look_alikes(words, params.words).items():
        print(
            f"The folder {word!r} ({words[word]} clips) is not taken for {chosen!r}; rename it if it is the same word"
        )
    if others:
        print(
            f"The voices also say {len(others)} other words, made up for _unknown_: {', '.join(others[:3])} …; "
            f"{paths.SOURCE} has all of them"
        )
    if naming == "one a file":
        print(
            "Each file counts as another speaker, since no name identifies speakers. A split by speaker is one by file"
        )


def _list(path: Path, target: Path) -> list[Clip]:
    """The clips of an archive, which is read to its end. Their names are written to a file."""
    recordings = list_clips(archive.list_members(path))
    target.write_text("".join(f"{clip.name}\n" for clip in recordings), encoding="utf-8")
    return recordings


def _others(params: Params) -> list[str]:
    """The words that computed voices say for `_unknown_`: none if it is off."""
    from kws.download.voices.other_words import other_words

    return other_words(params.words) if params.unknown else []


def _obtain(folder: Path, params: Params, others: list[str]) -> Archive:
    """Computes or obtains the archive."""
    if params.dataset != sources.SYNTHETIC:
        return sources.obtain(folder, params.dataset, params.dataset_url, params.dataset_sha256)
    from kws.download.voices.synthetic import Voices, write_corpus  # loads eSpeak NG

    target = folder / "synthetic.tar"
    voices = Voices(params.synthetic_speakers, params.synthetic_variety, params.neural_share, VOICES_SEED)
    # featurize takes `unknown` times the clips of a word, and each speaker says a word once
    write_corpus(target, params.words, voices, others, math.ceil(params.unknown))
    return sources.synthetic(target)


def _obtain_test(folder: Path, params: Params) -> Archive:
    """Obtains the test data set in its own folder."""
    folder.mkdir()
    try:
        obtained = sources.obtain(folder, params.test_dataset)
        choose_words(_list(folder / obtained.archive, folder / paths.TEST_CLIPS.name), params.words)
    except UserError as problem:
        raise UserError(f"test_dataset: {str(problem).removeprefix('dataset: ')}") from None
    return obtained


def _watch(dependency: Path, own: Path | None) -> None:
    """Points a link, on which this stage depends, to the user's data set, so that DVC sees changes of the data set.

    DVC follows a dependency that is a link itself, but no links below it. For other data sets the link points to
    data/none. It is a link in git, too: if git had a file there, `dvc exp run` would write the text of that file into
    the user's recordings.
    """
    with written_whole(dependency) as partial:
        partial.symlink_to(own or paths.NO_SOURCE.name)


if __name__ == "__main__":
    stage.run(main, __doc__)
