"""What the download stage says of a data set: what it understood, what it left out, and what looks like a mistake."""

from collections.abc import Iterable, Mapping, Sequence

from kws.core import paths
from kws.core.naming import by_kind, first_names
from kws.core.params import Params
from kws.recordings.clips import UNHEARD, Clip, look_alikes
from kws.recordings.layout import Layout
from kws.recordings.source import Archive, DataSource
from kws.recordings.unheard import Origin, other_words


def report_lines(
    archive: Archive, layout: Layout, left_out: Mapping[str, str], params: Params, others: Sequence[str] = ()
) -> list[str]:
    """The lines on a data set, or on the test data set, after the numbers.

    Args:
        archive: the `DataSource` of the data set, or the archive of the test data set.
        layout: of its folders.
        left_out: the files that are no clips, with the reason.
        params: of the experiment.
        others: words that computed voices say beside the chosen ones.
    """
    lines = []
    given, why = params.test_dataset, ""
    if isinstance(archive, DataSource):
        given, why = params.dataset_url or params.dataset, ", since dataset_sha256 is empty"
    if "://" in given and not archive.checked:
        lines.append(f"Its SHA-256 was not checked{why}. It is {archive.sha256}")
    lines += layout.remarks
    lines += [f"left out, {line}; {paths.LEFT_OUT} names them all" for line in by_kind(left_out.items())]
    spoken = {word: count for word, count in sorted(layout.words.items()) if not word.startswith("_")}
    use = "not used, since unknown is 0"
    if params.unknown:
        use = "count as other words, since unknown is on"
    elif isinstance(archive, DataSource) and "dataset" in archive.unheard.values():
        use = "not for training, since unknown is 0; false alarms are measured with them"
    if not isinstance(archive, DataSource):
        use = "training does not hear these words; false alarms are measured with them"
    there = {word: count for word, count in spoken.items() if word not in params.words}
    if others:
        lines.append(
            f"the voices also say {len(others)} other words, made up for _unknown_: {first_names(others)}; "
            f"{paths.SOURCE} has all of them"
        )
    elif there:
        counted = first_names([f"{word} ({count:,})" for word, count in there.items()])
        lines.append(
            f"{sum(there.values()):,} recordings in {len(there)} other folders are not words of this experiment: "
            f"{counted}; {use}"
        )
    taken = f"; its clips {use}" if params.unknown and isinstance(archive, DataSource) else ""
    lines += [
        f"the folder {word!r} ({there[word]} clips) is not taken for {chosen!r}{taken}; rename it if it is that word"
        for word, chosen in look_alikes(there, params.words).items()
    ]
    return lines


def other_speech_line(
    origins: Mapping[str, Origin], recordings: Iterable[Clip], tests: Iterable[Clip], params: Params
) -> str:
    """The line that says why computed voices say other words in the streams.

    Args:
        origins: where the clips of each unheard split come from.
        recordings: of the data set.
        tests: of the test data set, if there is one.
        params: of the experiment.
    """
    computed = [split for split, name in UNHEARD.items() if origins[name] == "computed"]
    where = "the streams" if len(computed) > 1 else f"the {computed[0]} stream"
    others = sum(1 for _ in other_words(recordings, tests, params))
    why = "the data set has no other words"
    if params.dataset == "synthetic":
        why = "the data set is computed, too, by other voices"
    elif others:
        why = f"the data set has few other words that training need not hear ({others} clips)"
    return f"other speech of {where} is computed (English words): {why}"
