"""download: get the data set as one archive, check all of it, list its clips.

Reads from the network, a file or a folder. Writes data/raw (the archive, source.json, clips.csv, left_out.csv, test/
with the test data set, computed.tar and .csv if computed voices speak beside people, other_speech.tar and .csv if they
must say other words in the streams) and metrics/download.json.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kws.core import paths, stage
from kws.core.errors import UserError
from kws.core.files import folder_written_whole, write_csv, write_json
from kws.core.params import Params, load_params
from kws.core.tables import Texts
from kws.download import sources
from kws.download.report import other_speech_line, report_lines
from kws.recordings import archive
from kws.recordings.clips import Clip, read_clips, require_words, write_clips
from kws.recordings.layout import Layout, understand
from kws.recordings.people import is_named
from kws.recordings.source import Archive, DataSource
from kws.recordings.unheard import origins_of

VOICES_SEED = 1  # not the parameter `seed`: another seed means another training on the same recordings


def main() -> None:
    """Parameters in, archives out."""
    params = load_params()
    synthetic = params.dataset == sources.SYNTHETIC
    others = _others(params) if synthetic else []
    with folder_written_whole(paths.RAW) as folder:
        obtained, not_packed = _obtain(folder, params, others)
        layout, left_out = _list(folder / obtained.archive, folder / paths.CLIPS.name, params.words)
        recorded = _recorded(layout, params)
        words = {word: number for word, number in sorted(layout.words.items()) if not word.startswith("_")}
        speakers, given_splits = _speakers(layout.clips)
        left_out = not_packed | left_out
        test, test_layout, test_left_out = _obtain_test(folder / paths.TEST_RAW.name, params, recorded)
        tests = test_layout.clips if test_layout else ()
        origins = origins_of(layout.clips, tests, params)
        computed, computed_lines = _compute_beside(folder, layout.clips, tests, params)
        other_speech, other_speech_lines = None, []
        if "computed" in origins.values():
            spoken = {clip.spoken for clip in itertools.chain(layout.clips, tests)}
            other_speech = _compute_other_speech(folder, spoken, params)
            other_speech_lines = [other_speech_line(origins, layout.clips, tests, params)]
        source = DataSource(
            **vars(obtained),
            synthetic=synthetic,
            speakers=layout.speakers,
            given_splits=given_splits,
            words=words,
            clips=sum(words.values()),
            test=test,
            test_synthetic=synthetic and not params.test_dataset,
            computed=computed,
            other_speech=other_speech,
            unheard=origins,
        )
        write_json(folder / paths.SOURCE.name, source.to_json())
        all_left_out = left_out | {f"{paths.TEST_RAW.name}/{name}": why for name, why in test_left_out.items()}
        rows = [{"name": name, "reason": reason} for name, reason in sorted(all_left_out.items())]
        write_csv(folder / paths.LEFT_OUT.name, rows, ("name", "reason"))

    counts = {"clips": source.clips, "words": len(words), "speakers": speakers}
    figures = counts | {"bytes": source.bytes, "synthetic": int(synthetic), "left_out": len(all_left_out)}
    figures |= {"computed": sum(1 for _ in read_clips(paths.COMPUTED_CLIPS))} if computed else {}
    write_json(paths.METRICS / "download.json", figures)
    print(f"{source.address}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    for line in report_lines(source, layout, left_out, params, others):
        print(line)
    for line in (*computed_lines, *other_speech_lines):
        print(line)
    for line in report_lines(test, test_layout, test_left_out, params) if test and test_layout else []:
        print(f"test_dataset: {line}")


def _list(path: Path, target: Path, words: Sequence[str]) -> tuple[Layout, dict[str, str]]:
    """Reads an archive to its end, writes the list of its clips, and returns it with the files that are left out."""
    contents = archive.read_contents(path)
    layout = understand(contents, set(words))
    write_clips(target, layout.clips)
    layout = replace(layout, clips=read_clips(target))  # faster than to understand the names anew
    return layout, contents.left_out | layout.left_out


def _recorded(layout: Layout, params: Params) -> list[str]:
    """The words of the experiment that have recordings.

    Raises:
        UserError: one has none. With computed voices, only if all have none.
    """
    recorded = [word for word in params.words if word in layout.words]
    require_words(layout.words, recorded if recorded and params.computed_voices else params.words)
    return recorded


def _speakers(clips: Iterable[Clip]) -> tuple[int, bool]:
    """How many people say words, not counting noise, silence and mixtures; and whether a split is given to a clip."""
    named, unnamed = set[str](), Texts()  # who is unnamed is another person in each file: there may be millions
    given = False
    for clip in clips:
        if not clip.word.startswith("_"):
            if is_named(clip.speaker):
                named.add(clip.speaker)
            else:
                unnamed.add(clip.speaker, "")
            given = given or bool(clip.split)
    return len(named) + len(unnamed), given


def _others(params: Params) -> list[str]:
    """The words that computed voices say for `_unknown_`: none if it is off.

    Raises:
        UserError: the voices speak another language, in which there is no list of such words.
    """
    if not params.unknown:
        return []
    if params.language.partition("-")[0] != "en":
        raise UserError(
            f"unknown: computed voices say other words in English only, not in {params.language}; set unknown to 0, "
            "or make words of your own the data set"
        )
    from kws.download.voices.other_words import other_words

    return other_words(params.words)


def _obtain(folder: Path, params: Params, others: list[str]) -> tuple[Archive, dict[str, str]]:
    """Computes or obtains the archive, and says which files of a folder were not packed."""
    if params.dataset != sources.SYNTHETIC:
        return sources.obtain(folder, params.dataset, params.dataset_url, params.dataset_sha256)
    from kws.download.voices.synthetic import Voices, write_corpus  # loads eSpeak NG

    target = folder / "synthetic.tar"
    voices = Voices(
        params.synthetic_speakers,
        params.synthetic_variety,
        params.neural_share,
        VOICES_SEED,
        params.language,
        params.clip_seconds,
    )
    # featurize takes `unknown` times the clips of a word, and each speaker says a word once
    write_corpus(target, params.words, voices, others, math.ceil(params.unknown))
    return sources.synthetic(target, params.neural_share), {}


def _compute_beside(
    folder: Path, recordings: Iterable[Clip], tests: Iterable[Clip], params: Params
) -> tuple[Archive | None, list[str]]:
    """Has computed voices speak beside people, if they are to; and lines that say what they do."""
    if not params.computed_voices:
        return None, []
    from kws.download.voices import beside  # loads eSpeak NG
    from kws.download.voices.synthetic import Voices, write_beside

    target = folder / paths.COMPUTED.name
    voices = Voices(
        params.computed_voices,
        params.synthetic_variety,
        params.neural_share,
        VOICES_SEED,
        params.language,
        params.clip_seconds,
    )
    words_of = beside.words_beside(recordings, tests, params)
    others = beside.others_beside(recordings, tests, params, voices.accents())
    clips = write_beside(target, words_of, voices, others)
    write_clips(folder / paths.COMPUTED_CLIPS.name, clips)
    return sources.synthetic(target, params.neural_share), beside.lines(words_of, clips, others, params)


def _compute_other_speech(folder: Path, known: Collection[str], params: Params) -> Archive:
    """Has computed voices say English words that training does not hear; `known` are the recordings' words."""
    from kws.download.voices.other_words import unheard_words
    from kws.download.voices.synthetic import OTHER_SPEAKERS, Voices, write_other_speech  # loads eSpeak NG

    target = folder / paths.OTHER_SPEECH.name
    variety = params.synthetic_variety if params.dataset == sources.SYNTHETIC else 1.0
    voices = Voices(OTHER_SPEAKERS, variety, 0.0, VOICES_SEED, "en", params.clip_seconds)
    clips = write_other_speech(target, unheard_words({*known, *params.words}), voices)
    write_clips(folder / paths.OTHER_SPEECH_CLIPS.name, clips)
    return sources.synthetic(target, voices.neural_share)


def _obtain_test(
    folder: Path, params: Params, recorded: Sequence[str]
) -> tuple[Archive | None, Layout | None, dict[str, str]]:
    """Obtains the test data set in its own folder, if there is one; its layout, and which files were left out.

    Raises:
        UserError: it lacks a word that the data set has, or cannot be had.
    """
    if not params.test_dataset:
        return None, None, {}
    folder.mkdir()
    try:
        sources.refuse_same(params.test_dataset, params.dataset)
        obtained, not_packed = sources.obtain(folder, params.test_dataset)
        layout, left_out = _list(folder / obtained.archive, folder / paths.TEST_CLIPS.name, params.words)
        require_words(layout.words, recorded)
    except UserError as problem:
        raise UserError(f"test_dataset: {str(problem).removeprefix('dataset: ')}") from None
    return obtained, layout, not_packed | left_out


if __name__ == "__main__":
    stage.run(main, __doc__)
