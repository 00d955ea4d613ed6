"""`make few PRESET=... SET='...'`: how good a pretrained network is with 1, 3, 5, 10, 30 takes a word.

Runs the experiment as far as its features. On what the pretrained network makes of all its clips, it draws takes again
and again, fits the last layer to them, and asks it for the clips of everybody else.
"""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from kws.commands.exp import command, split_settings
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import csv_rows, folder_written_whole, write_csv
from kws.core.naming import SILENCE, is_computed
from kws.core.params import OUR_EMBEDDING, Params, load_params
from kws.evaluate.few import (
    FALSE_REJECTION,
    PROBABILITY,
    Asked,
    accuracy,
    best_rule,
    draw_takes,
    rejection,
    word_means,
    word_scores,
)
from kws.evaluate.metrics import rounded
from kws.plots.figures import few_figure, save_figure
from kws.recordings.clips import HOUSEHOLD, UNHEARD
from kws.recordings.people import is_named
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec

TAKES = (1, 3, 5, 10, 30)
DRAWS = 10
FOLDER = paths.PLOTS / "few"
# What computed voices say beside the takes
NOTHING, WORDS, WORDS_AND_OTHERS = "nothing", "words", "words and others"
# Whom a figure is of, by the prefix of its name: people whom the pretrained network has not heard, or all
UNKNOWN_PEOPLE, EVERYBODY = "", "everybody_"
SHARES = ("accuracy", "rejection", "probability_rejection")
COLUMNS = (
    *("voices_say", "takes", "draws", "rule", "validation_accuracy", "validation_rejection"),
    *(
        f"{whom}{name}"
        for whom in (UNKNOWN_PEOPLE, EVERYBODY)
        for name in (
            *(f"{share}{end}" for share in SHARES for end in ("", "_low", "_high")),
            *("people", "clips", "other_clips"),
        )
    ),
)
# The splits of what a draw may take and ask, and of the clips that choose between the rules of rejection
OPEN, CHOOSING = ("train", "test", UNHEARD["test"]), ("validation", UNHEARD["validation"])


@dataclass(frozen=True)
class Clips:
    """The clips of an experiment, embedded; silence is left out.

    Attributes:
        words: of the experiment.
        start: the name of the pretrained network.
        all: every clip as it is (`kws.train.head.Embedded`).
        copies: augmented copies of what may be taken; their names are those of the clips.
        copied: the splits that have copies.
        splits: (clips,), the split of each.
        spoken: (clips,), the word that is said.
        computed: bool (clips,), whether a computed voice says it beside people.
        unheard_computed: whether computed voices say the words that training does not hear.
        heard: people whom the pretrained network has heard.
        told: whether the pretrained network says whom it has heard.
    """

    words: list[str]
    start: str
    all: Any
    copies: Any
    copied: tuple[str, ...]
    splits: np.ndarray
    spoken: np.ndarray
    computed: np.ndarray
    unheard_computed: bool
    heard: frozenset[str]
    told: bool

    @property
    def of_words(self) -> np.ndarray:
        """Recordings of the words, bool (clips,)."""
        unheard = np.isin(self.splits, list(UNHEARD.values()))
        return (self.all.labels < len(self.words)) & ~unheard & ~self.computed

    def said_by_voices(self, what: str) -> np.ndarray:
        """What computed voices say for training, bool (clips,)."""
        said = self.computed & (self.splits == "train") & (what != NOTHING)
        return said if what == WORDS_AND_OTHERS else said & (self.all.labels < len(self.words))


def main() -> None:
    """Runs the experiment, draws, prints the table and draws the curve."""
    try:
        words = [*command(sys.argv[1], split_settings(sys.argv[2])), "featurize"]
        print(shlex.join(words), flush=True)
        if code := subprocess.run(words, check=False).returncode:  # noqa: S603 (ours)
            sys.exit(code)
        measure(load_params())
    except UserError as error:
        sys.exit(f"error: {error}")


def measure(params: Params) -> None:
    """Draws takes of the experiment whose features are there; prints the table and writes plots/few."""
    clips = embed(params)
    words, all_words = (clips.said_by_voices(what).sum() for what in (WORDS, WORDS_AND_OTHERS))
    kinds = [NOTHING, *([WORDS] if words else []), *([WORDS_AND_OTHERS] if all_words > words else [])]
    rows = [row for kind in kinds for row in rows_of(clips, kind)]
    with folder_written_whole(FOLDER) as folder:
        write_csv(folder / "few.csv", rows, COLUMNS)
        save_figure(few_figure(rows), folder / "few.png")
        (folder / "few.txt").write_text(report(rows, clips) + "\n", encoding="utf-8")
    print(f"{report(rows, clips)}\nThe picture: {FOLDER / 'few.png'}")


def embed(params: Params) -> Clips:
    """What the pretrained network makes of the clips in data/features."""
    from kws.train import head, models, networks, pretrained, training

    training.make_deterministic(params.seed, params.threads)
    spec = FeatureSpec.read(paths.SPEC)
    start = pretrained.read_embedding(params.pretrained or OUR_EMBEDDING, spec, params)
    model = networks.NETWORKS[params.model](
        spec.front_end.frames, spec.front_end.mel_bins, len(spec.classes), params.width, causal=params.causal
    )
    start.give_to(model)
    network, recipe = models.embedding_and_probabilities(model), training.Recipe.from_params(params)
    copied = ("train",) if spec.front_end.kind == "micro" else ("train", "test")  # that have Mel power to augment
    copies = [head.embedded_copies(network, paths.FEATURES, spec, recipe, split) for split in copied]
    parts = [head.embedded_clips(network, paths.FEATURES, split, spec) for split in spec.clips]
    clips, splits = head.Embedded.joined(parts), np.repeat(list(spec.clips), [len(part.names) for part in parts])
    rows = {row["name"]: row for row in csv_rows(paths.MANIFEST) if row["status"] == "ok"}
    before = start.heard_of({str(name) for name in clips.people})
    speech = np.array([rows[name]["class"] != SILENCE for name in clips.names])
    clips = clips.subset(speech)
    return Clips(
        words=list(params.words),
        start=start.name,
        all=clips,
        copies=head.Embedded.joined(copies),
        copied=copied,
        splits=splits[speech],
        spoken=np.array([rows[name]["word"] for name in clips.names]),
        computed=np.array([is_computed(name) for name in clips.names]),
        unheard_computed="computed" in DataSource.read(paths.SOURCE).unheard.values(),
        heard=frozenset(before or ()),
        told=before is not None,
    )


def rows_of(clips: Clips, voices_say: str) -> list[dict[str, Any]]:
    """A row for each number of takes, as far as there are people to take them from, and others to ask.

    Args:
        clips: of the experiment.
        voices_say: what computed voices say beside the takes; if anything, then also without any take.
    """
    drawn: dict[int, list[Draw]] = {}
    for seed in tqdm(range(DRAWS), "draws", unit="draw", disable=None):
        takes = _takes(clips, np.random.default_rng(seed))
        for number in TAKES if voices_say == NOTHING else (0, *TAKES):
            if number <= takes.shape[1] and (draw := _ask(clips, takes[:, :number], voices_say)):
                drawn.setdefault(number, []).append(draw)
    return [_row(draws, number, voices_say) for number, draws in drawn.items() if len(draws) == DRAWS]


@dataclass(frozen=True)
class Draw:
    """What one draw of takes gives.

    Attributes:
        choosing: clips of validation, which choose the rule of rejection.
        asked: clips of all other people whom the pretrained network has not heard.
        everybody: clips of all other people.
    """

    choosing: Asked
    asked: Asked
    everybody: Asked


def _row(draws: Sequence[Draw], takes: int, voices_say: str) -> dict[str, Any]:
    """The figures of a number of takes; validation chooses the rule by which other words are rejected."""
    choosing = [draw.choosing for draw in draws]
    rule = best_rule(choosing)
    row: dict[str, Any] = {"voices_say": voices_say, "takes": takes, "draws": len(draws), "rule": rule}
    row |= rounded({"validation_accuracy": accuracy(choosing)[0], "validation_rejection": rejection(choosing, rule)[0]})
    for whom, asked in (
        (UNKNOWN_PEOPLE, [draw.asked for draw in draws]),
        (EVERYBODY, [draw.everybody for draw in draws]),
    ):
        figures = (accuracy(asked), rejection(asked, rule), rejection(asked, PROBABILITY))
        for name, (value, interval) in zip(SHARES, figures, strict=True):
            row |= rounded({f"{whom}{name}": value} | interval.figures(f"{whom}{name}"))
        row |= {
            f"{whom}people": round(np.mean([len(set(one.people)) for one in asked])),
            f"{whom}clips": round(np.mean([len(one.people) for one in asked])),
            f"{whom}other_clips": round(np.mean([len(one.other_people) for one in asked])),
        }
    return row


def _takes(clips: Clips, rng: np.random.Generator) -> np.ndarray:
    """Positions of takes, (words with recordings, takes)."""
    open_to = np.flatnonzero(clips.of_words & np.isin(clips.splits, clips.copied) & (clips.all.people != HOUSEHOLD))
    _, words = np.unique(clips.all.labels[open_to], return_inverse=True)
    return open_to[draw_takes(words, clips.all.people[open_to], TAKES[-1], rng)]


def _ask(clips: Clips, takes: np.ndarray, voices_say: str) -> Draw | None:
    """Fits the last layer to takes and asks it for the clips of all other people; None if nobody else says a word.

    Words that computed voices say for `_unknown_` are never asked, so that the clips are the same, whatever they say.
    """
    from kws.train import head

    everything, taken = clips.all, takes.ravel()
    plain = np.concatenate([taken, np.flatnonzero(clips.said_by_voices(voices_say))])
    copies = clips.copies.subset(np.isin(clips.copies.names, everything.names[plain]))
    heard, weight_of = head.with_copies(everything.subset(plain), copies)
    weights, _ = head.fit_head(everything.subset(plain), copies)
    logits = everything.embeddings @ weights
    classes = np.unique(heard.labels)  # the words come first
    of_words = heard.labels < len(clips.words)
    means = word_means(heard.embeddings[of_words], heard.labels[of_words], weight_of[of_words])
    scores = word_scores(everything.embeddings, logits, classes < len(clips.words), means)

    strangers = ~np.isin(everything.people, [*everything.people[taken], HOUSEHOLD])
    own = clips.of_words & np.isin(everything.labels, classes) & strangers
    correct = classes[logits.argmax(axis=1)] == everything.labels
    said = {*clips.words, *clips.spoken[clips.computed]}
    others = ~clips.of_words & ~clips.computed & strangers & ~np.isin(clips.spoken, list(said))

    def asked(some: np.ndarray) -> Asked:
        mine, theirs = own & some, others & some
        return Asked(
            people=everything.people[mine],
            correct=correct[mine],
            scores={rule: values[mine] for rule, values in scores.items()},
            other_people=everything.people[theirs],
            other_scores={rule: values[theirs] for rule, values in scores.items()},
        )

    unheard, open_to = ~np.isin(everything.people, list(clips.heard)), np.isin(clips.splits, OPEN)
    choosing = asked(np.isin(clips.splits, CHOOSING) & unheard)
    draw = Draw(choosing, asked(open_to & unheard), asked(open_to))
    there = [len(part) for one in (draw.choosing, draw.asked) for part in (one.people, one.other_people)]
    return draw if all(there) else None


def report(rows: Sequence[Mapping[str, Any]], clips: Clips) -> str:
    """The table as text, and what its figures mean."""
    heard = clips.heard & set(clips.all.people)
    table = [
        ["takes", "computed", "accuracy", "other words", "by", "by probability", *(["accuracy of"] if heard else [])],
        ["a word", "voices say", "", "rejected", "", "", *(["everybody"] if heard else [])],
    ]
    for row in rows:
        ours = [_with_interval(row, name) for name in SHARES]
        line = [str(row["takes"]), row["voices_say"], *ours[:2], row["rule"], ours[2]]
        table.append(line + [_with_interval(row, f"{EVERYBODY}accuracy")] * bool(heard))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    missing = [str(number) for number in TAKES if number not in {row["takes"] for row in rows}]
    if missing:
        lines.append(f"Not there: {', '.join(missing)} takes a word, since too few people say each word.")
    if not all(is_named(person) for person in clips.all.people[clips.of_words]):
        lines.append("Not all names tell who speaks: people may be in takes and test, and the figures too good.")
    other = "computed voices say some of them" if clips.unheard_computed else "recordings"
    lines += [
        f"Training began with {clips.start}. Means over {DRAWS} draws: each take of a word is of another person, and",
        "everybody else is asked; in brackets 95 % intervals, over draws and people.",
        *_heard_lines(clips, len(heard)),
        f"Other words ({other}) are rejected where {FALSE_REJECTION:.0%} of the words' own clips are.",
        "Validation people chose by what: the largest probability of a word, the largest logit, or the distance in the",
        "embedding. The network that make exp writes rejects by probability.",
    ]
    return "\n".join(lines)


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.1%} [{row[f'{name}_low']:.1%}, {row[f'{name}_high']:.1%}]"


def _heard_lines(clips: Clips, heard: int) -> list[str]:
    """Who of the people is not asked, and why."""
    if not clips.told:
        return [f"{clips.start} does not say whom it has heard: if some of these people, the figures are too good."]
    lines = [f"Not asked: {heard} people whom {clips.start} has heard."]
    if heard:
        lines.append("The last column asks them, too: its figures may be too good.")
    if HOUSEHOLD in clips.all.people:
        lines.append("Not asked either: what kws listen --keep has heard.")
    return lines


if __name__ == "__main__":
    main()
