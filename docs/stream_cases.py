"""Draws docs/stream-cases.png: what the evaluation calls right, missed, wrong and false in a stream.

The verdicts in the picture are those of the code: `python docs/stream_cases.py`.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kws.evaluate.stream import Reaction, Utterance, judge
from kws.evaluate.stream_scores import KINDS
from kws.plots.figures import COLOURS, save_figure

PICTURE = Path(__file__).with_name("stream-cases.png")
WORDS = ["yes", "no"]
YES = Utterance(1.6, 2.2, 0, "ada", "yes.wav")
TALK = Utterance(1.0, 3.4, None, "bob", "talk.wav")


def detection(start: float, word: str) -> Reaction:
    """A detection whose window of a second starts then."""
    return Reaction(start, start + 1, WORDS.index(word), 0.9)


CASES = {  # what is said, and what is detected
    "right": ([YES], [detection(1.4, "yes")]),
    "missed": ([YES], []),
    "wrong": ([YES], [detection(1.3, "no")]),
    "a wrong word beside a right one": ([YES], [detection(0.98, "yes"), detection(2.06, "no")]),
    "twice": ([YES], [detection(0.98, "yes"), detection(2.06, "yes")]),
    "less than half of the word": ([YES], [detection(2.0, "yes")]),
    "other speech": ([TALK], [detection(1.9, "no")]),
    "background": ([], [detection(1.4, "yes")]),
}


def verdict(said: list[Utterance], detected: list[Reaction]) -> str:
    """What the evaluation says of a case, in words."""
    outcome = judge(detected, said, "room", 1.0)
    found = []
    if len(outcome.missed):
        found.append(
            "missed, and wrong" if outcome.taken_for_another[0] else "missed" if outcome.missed[0] else "right"
        )
    found += [f"false alarm {KINDS[kind]}" for kind in outcome.kinds]
    return "\n".join(found)


def picture() -> Figure:
    """A row for each case."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    for axes, (title, (said, detected)) in zip(figure.subplots(len(CASES), sharex=True), CASES.items(), strict=True):
        _draw(axes, title, said, detected)
    axes.set_xlabel("time (s)")
    handles = [
        Rectangle((0, 0), 1, 1, color=COLOURS[0], label="a word to detect is said"),
        Rectangle((0, 0), 1, 1, color="0.75", label="other speech"),
        Rectangle(
            (0, 0), 1, 1, fill=False, edgecolor=COLOURS[6], linewidth=2, label="window of a detection, and its word"
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _draw(axes: Axes, title: str, said: list[Utterance], detected: list[Reaction]) -> None:
    for one in said:
        word = "other words" if one.word is None else WORDS[one.word]
        colour = "0.75" if one.word is None else COLOURS[0]
        axes.add_patch(Rectangle((one.start, 0.05), one.end - one.start, 0.4, color=colour))
        axes.text(
            (one.start + one.end) / 2,
            0.25,
            word,
            ha="center",
            va="center",
            color="black" if one.word is None else "white",
        )
    for one in detected:
        axes.add_patch(
            Rectangle((one.start, 0.55), one.end - one.start, 0.4, fill=False, edgecolor=COLOURS[6], linewidth=2)
        )
        axes.text((one.start + one.end) / 2, 0.75, WORDS[one.word], ha="center", va="center")
    axes.set(xlim=(0.5, 4), ylim=(0, 1), yticks=[])
    axes.text(-0.02, 0.5, title, transform=axes.transAxes, ha="right", va="center", wrap=True)
    axes.text(1.02, 0.5, verdict(said, detected), transform=axes.transAxes, ha="left", va="center", weight="bold")
    axes.grid(color="0.9", axis="x")
    axes.set_axisbelow(True)


if __name__ == "__main__":
    save_figure(picture(), PICTURE)
