"""download: bring the data set here as one archive, check it to its last byte, list its clips.

Reads the network, a file or a folder, writes data/raw (the archive, source.json, clips.txt) and metrics/download.json.
"""

from pathlib import Path

from kws import archive, corpus, paths, sources, stage
from kws.files import folder_written_whole, write_json, written_whole
from kws.params import Params, load_params

VOICES_SEED = 1  # not the parameter `seed`: with another seed one wants to train anew, on the same recordings


def main() -> None:
    """Parameters in, archive out."""
    params = load_params()
    synthetic = params.dataset == sources.SYNTHETIC
    with folder_written_whole(paths.RAW) as folder:
        source = _obtain(folder, params)
        recordings = corpus.list_clips(archive.list_members(source.archive))
        corpus.choose_words(recordings, params.words)  # refuses a word that is not there
        clips = [clip for clip in recordings if not clip.word.startswith("_")]  # the others: noises, silence, mixtures
        words, naming = corpus.words_of(clips), corpus.speaker_naming(clips)
        size = source.archive.stat().st_size
        about = {
            "dataset": params.dataset,
            "archive": source.archive.name,
            "address": source.address,
            "bytes": size,
            "sha256": source.sha256,
            "checked": source.checked,
            "licence": source.licence,
            "synthetic": synthetic,
            "speakers": naming,
            "words": words,
            "clips": len(clips),
        }
        write_json(folder / paths.SOURCE.name, about)
        (folder / paths.CLIPS.name).write_text("".join(f"{clip.name}\n" for clip in recordings), encoding="utf-8")

    counts = {"clips": len(clips), "words": len(words), "speakers": len({clip.speaker for clip in clips})}
    write_json(paths.METRICS / "download.json", counts | {"bytes": size, "synthetic": int(synthetic)})
    _watch(sources.own_path(params.dataset))
    print(f"{source.address}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    if "://" in source.address and not source.checked:
        print(f"Its SHA-256 was compared with none, as none was given; it is {source.sha256}")
    if naming == "one a file":
        print(
            "Each file counts as a speaker of its own: no name tells them apart, so a split by speaker is one by file"
        )


def _obtain(folder: Path, params: Params) -> sources.Source:
    """The archive, made here or brought from elsewhere."""
    if params.dataset != sources.SYNTHETIC:
        return sources.obtain(folder, params.dataset, params.dataset_url, params.dataset_sha256)
    from kws.synthetic import write_corpus  # loads eSpeak NG

    target = folder / "synthetic.tar"
    write_corpus(target, params.words, params.synthetic_speakers, VOICES_SEED)
    return sources.synthetic(target)


def _watch(own: Path | None) -> None:
    """Makes data/local, on which this stage depends, a link to the user's data set, so that DVC sees it change.

    DVC follows a dependency that is a link itself, but none below it. For other data sets data/local is a line of text.
    """
    with written_whole(paths.LOCAL_SOURCE) as partial:
        if own:
            partial.symlink_to(own)
        else:
            partial.write_text("no data set of your own\n", encoding="utf-8")


if __name__ == "__main__":
    stage.run(main, __doc__)
