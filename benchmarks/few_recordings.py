"""Measures networks that begin with an embedding, where recordings are few, for docs/few-recordings.md.

    python benchmarks/few_recordings.py                                     # from the publisher's address: 2.4 GB
    python benchmarks/few_recordings.py --mirror file:///data --case seven  # from an archive in a folder; one case
    python benchmarks/few_recordings.py --without-ten ten.npz --fast fast.keras --best best.keras  # the other cases

Each case is what `make few` measures: takes of words that the embedding has never heard, drawn ten times.

- *seven*: on off zero one five eight happy, of Speech Commands; 60 computed voices say them beside the takes.
- *seven and other words*: the same, and the voices also say other words for class `_unknown_`, near-sounding ones
  first.
- *ten*, with an embedding that has not heard these words (--without-ten), above all with computed voices alone.
- *fast*, *best*: *seven* with networks that presets have trained on *ten* (--fast, --best: models/kws.keras), for
  comparison. They do not say whom they have heard. So their figures of people whom they have not heard are not there.
- German, French, Spanish, Polish, Mandarin: ten words each. There are no recordings: computed voices (eSpeak NG) say
  takes, what is asked, and ten other words. All of these voices are different ones, but all are of one synthesizer, and
  the embedding has heard its English. With people the figures are lower.

Writes benchmarks/few_recordings.csv, the rows of a case together. A case that is there with the same embedding is not
measured again.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runs import ROOT, TEN, downloaded, featurize, parser, preset, ten

from kws.commands import few
from kws.core.files import csv_rows, sha256_of, write_csv
from kws.core.params import load_params
from kws.train.pretrained import SUFFIX, about_embedding

TABLE = Path(__file__).with_suffix(".csv")
EMBEDDING = ROOT / "src" / "kws" / "train" / "embeddings" / "kws.npz"
COLUMNS = ("case", "speakers", "embedding", *few.COLUMNS)
SEVEN = ("eight", "five", "happy", "off", "on", "one", "zero")
VOICES = {"computed_voices": 60, "synthetic_variety": 1.0}
LANGUAGE_VOICES = 200
# Commands, and as many other words, in the notation of eSpeak NG
LANGUAGES = {
    "German": (
        *("de", "ja nein links rechts hoch runter licht musik weiter halt"),
        "haus wasser garten fenster apfel morgen straße vogel brücke schule",
    ),
    "French": (
        *("fr", "oui non gauche droite haut bas lumière musique suivant arrête"),
        "maison jardin fenêtre pomme demain rue oiseau école fromage voiture",
    ),
    "Spanish": (
        *("es", "sí nunca izquierda derecha arriba abajo luz música siguiente para"),
        "casa agua jardín ventana manzana silla pájaro puente escuela queso",
    ),
    "Polish": (
        *("pl", "tak nie lewo prawo góra dół światło muzyka dalej stój"),
        "dom woda ogród okno jabłko ulica ptak most szkoła chleb",
    ),
    "Mandarin": (
        *("cmn", "是 不 左边 右边 上面 下面 开灯 音乐 继续 停止"),
        "房子 水 花园 窗户 苹果 街道 小鸟 大桥 学校 面包",
    ),
}


def main() -> None:
    """Measures every case that can be, or the chosen one."""
    options = parser(__doc__)
    options.add_argument("--embedding", type=Path, default=EMBEDDING, help="the file to begin with; default: kws's own")
    options.add_argument("--without-ten", type=Path, help="an embedding that has not heard the words *ten*")
    options.add_argument("--fast", type=Path, help="models/kws.keras of preset fast on *ten*")
    options.add_argument("--best", type=Path, help="models/kws.keras of preset best on *ten*")
    names = ("seven", "seven and other words", "ten", "fast", "best", *LANGUAGES)
    options.add_argument("--case", choices=names, help="only this case")
    asked = options.parse_args()
    begun_with = {"ten": asked.without_ten, "fast": asked.fast, "best": asked.best}
    for case in [asked.case] if asked.case else names:
        if begin := begun_with.get(case, asked.embedding):
            measure(case, begin.resolve(), asked.mirror)
        else:
            print(f"{case}: left out, since its embedding is not given")


def measure(case: str, embedding: Path, mirror: str | None) -> None:
    """Measures a case, unless its rows are there, and writes them."""
    digest = sha256_of(embedding)[:16]
    there = list(csv_rows(TABLE)) if TABLE.exists() else []
    if any((row["case"], row["embedding"]) == (case, digest) for row in there):
        print(f"{case}: is there, with the embedding {digest}")
        return
    with choice_of(case, mirror) as choice:
        if embedding.suffix == SUFFIX and (heard := set(about_embedding(embedding)["words"]) & set(choice["words"])):
            raise SystemExit(f"{case}: {embedding} has heard {', '.join(sorted(heard))}, which are to be new to it")
        choice |= {"pretrained": str(embedding)}
        with downloaded(choice) as project:
            featurize(project, choice)
            with contextlib.chdir(project):
                few.measure(load_params())
                rows = list(csv_rows(few.FOLDER / "few.csv"))
    says_whom = embedding.suffix == SUFFIX
    named = {"case": case, "speakers": "computed" if case in LANGUAGES else "people", "embedding": digest}
    rest = [row for row in there if row["case"] != case]
    write_csv(TABLE, [*rest, *(named | (row if says_whom else _of_everybody(row)) for row in rows)], COLUMNS)


def _of_everybody(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the figures of people whom the network has not heard: nobody knows who they are."""
    figures = {name for name in row if f"{few.EVERYBODY}{name}" in row}
    return {name: "" if name in figures else value for name, value in row.items()}


@contextlib.contextmanager
def choice_of(case: str, mirror: str | None) -> Iterator[dict[str, Any]]:
    """The parameters of a case, except `pretrained`; the data set of a language is there as long as it is measured."""
    if case in LANGUAGES:
        language, words, others = LANGUAGES[case]
        spoken = {"dataset": "synthetic", "language": language, "words": [*words.split(), *others.split()]}
        spoken |= {"synthetic_speakers": LANGUAGE_VOICES, "synthetic_variety": 1.0}
        with downloaded({**preset("best"), **spoken}) as project:
            archive = project / "data" / "raw" / "synthetic.tar"
            yield {**preset("best"), "dataset": str(archive), "cut": "start", "words": words.split()}
        return
    choice = {**preset(case if case in ("fast", "best") else "best"), **ten(mirror), **VOICES}
    choice["words"] = list(TEN if case == "ten" else SEVEN)
    # nearly all other words of the data set stay unheard, as in *seven*
    yield choice | ({"unknown": 3.0, "unheard_words": 0.9} if case == "seven and other words" else {})


if __name__ == "__main__":
    main()
