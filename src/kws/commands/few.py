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
COLUMNS = (
    *("computed", "takes", "draws", "accuracy", "accuracy_low", "accuracy_high", "rejection", "rejection_low"),
    *("rejection_high", "rule", "probability_rejection", "probability_rejection_low", "probability_rejection_high"),
    *("test_people", "test_clips", "other_clips"),
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
        known: people who are not asked: the pretrained network has heard them, or `kws listen --keep` has.
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
    known: frozenset[str]
    told: bool

    @property
    def of_words(self) -> np.ndarray:
        """Recordings of the words, bool (clips,)."""
        unheard = np.isin(self.splits, list(UNHEARD.values()))
        return (self.all.labels < len(self.words)) & ~unheard & ~self.computed


def main() -> None:
    """Runs the experiment, draws, prints the table and draws the curve."""
    try:
        words = [*command(sys.argv[1], split_settings(sys.argv[2])), "featurize"]
        print(shlex.join(words), flush=True)
        if code := subprocess.run(words, check=False).returncode:  # noqa: S603 (ours)
            sys.exit(code)
        params = load_params()
        clips = embed(params)
        rows = [
            row
            for heard in (False, True)[: 1 + bool(clips.computed.any())]
            for row in rows_of(clips, with_computed=heard)
        ]
    except UserError as error:
        sys.exit(f"error: {error}")
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
        known=frozenset({HOUSEHOLD, *(before or ())}),
        told=before is not None,
    )


def rows_of(clips: Clips, *, with_computed: bool) -> list[dict[str, Any]]:
    """A row for each number of takes, as far as there are people to take them from, and others to ask.

    Args:
        clips: of the experiment.
        with_computed: whether the computed voices in training are heard beside the takes; then also without any take.
    """
    drawn: dict[int, list[Draw]] = {}
    for seed in tqdm(range(DRAWS), "draws", unit="draw", disable=None):
        takes = _takes(clips, np.random.default_rng(seed))
        for number in (0, *TAKES) if with_computed else TAKES:
            if number <= takes.shape[1] and (draw := _ask(clips, takes[:, :number], with_computed=with_computed)):
                drawn.setdefault(number, []).append(draw)
    return [_row(draws, number, int(with_computed)) for number, draws in drawn.items() if len(draws) == DRAWS]


@dataclass(frozen=True)
class Draw:
    """What the clips of validation, which choose the rule of rejection, and all others say of one draw of takes."""

    choosing: Asked
    asked: Asked


def _row(draws: Sequence[Draw], takes: int, computed: int) -> dict[str, Any]:
    """The figures of a number of takes; validation chooses the rule by which other words are rejected."""
    rule, asked = best_rule([draw.choosing for draw in draws]), [draw.asked for draw in draws]
    row: dict[str, Any] = {"computed": computed, "takes": takes, "draws": len(draws), "rule": rule}
    figures = {
        "accuracy": accuracy(asked),
        "rejection": rejection(asked, rule),
        "probability_rejection": rejection(asked, PROBABILITY),
    }
    for name, (value, interval) in figures.items():
        row |= rounded({name: value} | interval.figures(name))
    return row | {
        "test_people": round(np.mean([len(set(one.people)) for one in asked])),
        "test_clips": round(np.mean([len(one.people) for one in asked])),
        "other_clips": round(np.mean([len(one.other_people) for one in asked])),
    }


def _takes(clips: Clips, rng: np.random.Generator) -> np.ndarray:
    """Positions of takes, (words with recordings, takes)."""
    open_to = np.flatnonzero(clips.of_words & np.isin(clips.splits, clips.copied) & (clips.all.people != HOUSEHOLD))
    _, words = np.unique(clips.all.labels[open_to], return_inverse=True)
    return open_to[draw_takes(words, clips.all.people[open_to], TAKES[-1], rng)]


def _ask(clips: Clips, takes: np.ndarray, *, with_computed: bool) -> Draw | None:
    """Fits the last layer to takes and asks it for the clips of all other people; None if nobody else says a word."""
    from kws.train import head

    everything, taken = clips.all, takes.ravel()
    plain = np.concatenate([taken, np.flatnonzero(clips.computed & (clips.splits == "train") & with_computed)])
    copies = clips.copies.subset(np.isin(clips.copies.names, everything.names[plain]))
    heard, weight_of = head.with_copies(everything.subset(plain), copies)
    weights, _ = head.fit_head(everything.subset(plain), copies)
    logits = everything.embeddings @ weights
    classes = np.unique(heard.labels)  # the words come first
    of_words = heard.labels < len(clips.words)
    means = word_means(heard.embeddings[of_words], heard.labels[of_words], weight_of[of_words])
    scores = word_scores(everything.embeddings, logits, classes < len(clips.words), means)

    strangers = ~np.isin(everything.people, [*everything.people[taken], *clips.known])
    own = clips.of_words & np.isin(everything.labels, classes) & strangers
    correct = classes[logits.argmax(axis=1)] == everything.labels
    heard_words = set(clips.spoken[plain])
    others = ~clips.of_words & ~clips.computed & strangers & ~np.isin(clips.spoken, list(heard_words))

    def asked(splits: Sequence[str]) -> Asked:
        here = np.isin(clips.splits, splits)
        mine, theirs = own & here, others & here
        return Asked(
            people=everything.people[mine],
            correct=correct[mine],
            scores={rule: values[mine] for rule, values in scores.items()},
            other_people=everything.people[theirs],
            other_scores={rule: values[theirs] for rule, values in scores.items()},
        )

    choosing, rest = asked(CHOOSING), asked(OPEN)
    there = [len(part) for part in (choosing.people, choosing.other_people, rest.people, rest.other_people)]
    return Draw(choosing, rest) if all(there) else None


def report(rows: Sequence[Mapping[str, Any]], clips: Clips) -> str:
    """The table as text, and what its figures mean."""
    shown = "takes a word  computed voices  accuracy  95 % interval     other words rejected  95 % interval     by"
    lines = [f"{shown}         by probability"]
    for row in rows:
        voices = "yes" if row["computed"] else "no"
        shares = (
            f"{row[name]:>{width}.1%}  {row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%}".ljust(width + 18)
            for name, width in (("accuracy", 8), ("rejection", 20))
        )
        lines.append(
            "  ".join(
                [
                    f"{row['takes']:>12}  {voices:>15}",
                    *shares,
                    f"{row['rule']:9}",
                    f"{row['probability_rejection']:>14.1%}",
                ]
            )
        )
    missing = [str(number) for number in TAKES if number not in {row["takes"] for row in rows}]
    if missing:
        lines.append(f"Not there: {', '.join(missing)} takes a word, since too few people say each word.")
    if not all(is_named(person) for person in clips.all.people[clips.of_words]):
        lines.append("Not all names tell who speaks: people may be in takes and test, and the figures too good.")
    other = "computed voices say some of them" if clips.unheard_computed else "recordings"
    lines += [
        f"Training began with {clips.start}. Means over {DRAWS} draws: each take of a word is of another person, and",
        "everybody else is asked; the intervals are over draws and people.",
        _known_line(clips),
        f"Other words ({other}) are rejected where {FALSE_REJECTION:.0%} of the words' own clips are.",
        "Validation people chose by what: the largest probability of a word, the largest logit, or the distance in the",
        "embedding. The network that make exp writes rejects by probability.",
    ]
    return "\n".join(lines)


def _known_line(clips: Clips) -> str:
    """Who of the people is not asked, and why."""
    if not clips.told:
        return f"{clips.start} does not say whom it has heard: if some of these people, the figures are too good."
    known = clips.known & set(clips.all.people[clips.of_words])
    return f"Not asked: {len(known)} people whom {clips.start} or kws listen --keep has heard."


if __name__ == "__main__":
    main()
