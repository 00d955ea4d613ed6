"""download: get the data set as one archive, check all of it, list its clips.

Reads from the network, a file or a folder. Writes data/raw (the archive, source.json, clips.txt, and test/ with the
test data set) and metrics/download.json.
"""

from pathlib import Path
from typing import Any

from kws.core import paths, stage
from kws.core.address import public_address
from kws.core.errors import UserError
from kws.core.files import folder_written_whole, write_json
from kws.core.params import Params, load_params
from kws.download import sources
from kws.recordings import archive
from kws.recordings.clips import Clip, choose_words, list_clips, speaker_naming, words_of

VOICES_SEED = 1  # not the parameter `seed`: another seed means another training on the same recordings


def main() -> None:
    """Parameters in, archives out."""
    params = load_params()
    synthetic = params.dataset == sources.SYNTHETIC
    with folder_written_whole(paths.RAW) as folder:
        source = _obtain(folder, params)
        recordings = _list(source, folder / paths.CLIPS.name)
        choose_words(recordings, params.words)  # refuses a word without clips
        clips = [clip for clip in recordings if not clip.word.startswith("_")]  # others: noise, silence, mixtures
        words, naming = words_of(clips), speaker_naming(clips)
        about = {"dataset": public_address(params.dataset), **_about(source), "synthetic": synthetic}
        about |= {"speakers": naming, "words": words, "clips": len(clips), "test": None, "test_synthetic": synthetic}
        if params.test_dataset:
            about |= {"test": _obtain_test(folder / paths.TEST_RAW.name, params), "test_synthetic": False}
        write_json(folder / paths.SOURCE.name, about)

    counts = {"clips": len(clips), "words": len(words), "speakers": len({clip.speaker for clip in clips})}
    write_json(paths.METRICS / "download.json", counts | {"bytes": about["bytes"], "synthetic": int(synthetic)})
    print(f"{public_address(source.address)}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    if "://" in source.address and not source.checked:
        print(f"Its SHA-256 was not checked, since dataset_sha256 is empty. It is {source.sha256}")
    if naming == "one a file":
        print(
            "Each file counts as another speaker, since no name identifies speakers. A split by speaker is one by file"
        )


def _list(source: sources.Source, target: Path) -> list[Clip]:
    """The clips of an archive, which is read to its end. Their names are written to a file."""
    recordings = list_clips(archive.list_members(source.archive))
    target.write_text("".join(f"{clip.name}\n" for clip in recordings), encoding="utf-8")
    return recordings


def _about(source: sources.Source) -> dict[str, Any]:
    return {
        "archive": source.archive.name,
        "address": public_address(source.address),
        "bytes": source.archive.stat().st_size,
        "sha256": source.sha256,
        "checked": source.checked,
        "licence": source.licence,
    }


def _obtain(folder: Path, params: Params) -> sources.Source:
    """The archive, computed or obtained."""
    if params.dataset != sources.SYNTHETIC:
        return sources.obtain(folder, params.dataset, params.dataset_url, params.dataset_sha256)
    from kws.download.voices.synthetic import Voices, write_corpus  # loads eSpeak NG

    target = folder / "synthetic.tar"
    voices = Voices(params.synthetic_speakers, params.synthetic_variety, params.neural_share, VOICES_SEED)
    write_corpus(target, params.words, voices)
    return sources.synthetic(target)


def _obtain_test(folder: Path, params: Params) -> dict[str, Any]:
    """Obtains the test data set in its own folder, and returns its origin."""
    folder.mkdir()
    try:
        source = sources.obtain(folder, params.test_dataset)
        choose_words(_list(source, folder / paths.TEST_CLIPS.name), params.words)
    except UserError as problem:
        raise UserError(f"test_dataset: {str(problem).removeprefix('dataset: ')}") from None
    return {"dataset": public_address(params.test_dataset), **_about(source)}


if __name__ == "__main__":
    stage.run(main, __doc__)
