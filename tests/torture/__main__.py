"""`make torture`: inflicts faults on every stage, and tells what came of them.

Each fault begins with a copy of an undisturbed run, in which one stage has not run yet, strikes that stage, and types
`dvc repro` again. What is drawn depends on the seed, the kind, the stage and the number of the fault alone, so that
each can be repeated.
"""

import argparse
import csv
import hashlib
import random
import re
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checkout import ROOT
from tqdm import tqdm

from torture import caches, clock, disk, kills, namespace, network, server, team
from torture.faults import Kind, Outcome, Scene, Skipped
from torture.workspaces import Base, code, files, make_base

KINDS = [*kills.KINDS, *team.KINDS, *disk.KINDS, *clock.KINDS, *network.KINDS, *server.KINDS, *caches.KINDS]
FOLDER = ROOT / ".scratch/torture"
TABLE = ROOT / "benchmarks/torture.csv"
ENDS = ("undisturbed", "one line", "unexplained")
Row = dict[str, str]


def main() -> None:
    """Command line in, table out."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=20, help="kills of each stage; other faults are fewer")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--jobs", type=int, default=1, help="faults at once")
    parser.add_argument("--only", default="", help="kind, kind/stage or kind/stage/number")
    options = parser.parse_args()
    namespace.enter()
    base = make_base(FOLDER / "base", lambda line: print(line, file=sys.stderr, flush=True))
    undisturbed = files(base)
    # Of all faults: what is done already is not done again after an interruption
    path = FOLDER / ("only.csv" if options.only else f"faults-{options.tries}-{options.seed}-{_version()}.csv")
    rows = _read(path) if path.exists() and not options.only else []
    done = {row["fault"] for row in rows}
    scenes = {kind: list(_scenes(kind, base, options, done)) for kind in KINDS}
    skipped: dict[str, str] = {}
    with tqdm(total=len(rows) + sum(map(len, scenes.values())), initial=len(rows), desc="torture", unit="fault") as bar:
        for kind, of_kind in scenes.items():
            if not of_kind:
                continue
            try:
                with kind.ready(base) as inflict:
                    for row in _inflict_all(kind, of_kind, inflict, options.jobs):
                        rows.append(row)
                        _write(path, rows)
                        bar.update()
                        if row["ended"] == ENDS[2]:
                            bar.write(told(row), file=sys.stderr)
            except Skipped as reason:
                skipped[kind.name] = str(reason)
    if files(base) != undisturbed:
        path.unlink(missing_ok=True)
        sys.exit("error: a fault has changed the undisturbed run, so that no comparison with it counts: try again")
    table = summary(rows)
    if not options.only:
        _write(TABLE, [row | {"tries": str(options.tries), "seed": str(options.seed)} for row in table])
    print(shown(table))
    for name, reason in skipped.items():
        print(f"skipped: {name}: {reason}")
    unexplained = [row for row in rows if row["ended"] == ENDS[2]]
    for row in unexplained:
        print(told(row))
    print(f"seed {options.seed}; every fault: {path}; one of them again: make torture SEED={options.seed} ONLY=<fault>")
    sys.exit(1 if unexplained else 0)


def _scenes(kind: Kind, base: Base, options: argparse.Namespace, done: Collection[str]) -> Iterator[Scene]:
    """What the faults of a kind have to work with, of those that are asked for and not done."""
    for stage, tries in kind.tries(options.tries).items():
        for number in range(tries):
            name = _name(kind, stage, number)
            wanted = options.only.split("/") if options.only else []
            if name not in done and wanted == name.split("/")[: len(wanted)]:
                folder = FOLDER / "faults" / re.sub(r"\W", "-", name)
                draw = random.Random(f"{options.seed} {name}")
                yield Scene(base, stage, number, tries, folder, draw)


def _name(kind: Kind, stage: str, number: int) -> str:
    return f"{kind.name}/{stage}/{number}"


def _version() -> str:
    """Of the faults and of what they strike."""
    digest = hashlib.sha256(code().encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def told(row: Row) -> str:
    """A line for a fault whose end is unexplained."""
    return f"unexplained: {row['fault']}: {row['moment']}: {row['said']}"


def _inflict_all(kind: Kind, scenes: Sequence[Scene], inflict: Callable[[Scene], Outcome], jobs: int) -> Iterator[Row]:
    """Inflicts all faults of a kind; a row for each."""
    with ThreadPoolExecutor(1 if kind.alone else jobs) as pool:
        outcomes = [pool.submit(_inflict, scene, inflict) for scene in scenes]
        for scene, future in zip(scenes, outcomes, strict=True):
            outcome = future.result()
            name = _name(kind, scene.stage, scene.number)
            yield {"fault": name, "kind": kind.name, "stage": scene.stage, **vars(outcome)}


def _inflict(scene: Scene, inflict: Callable[[Scene], Outcome]) -> Outcome:
    """Inflicts a fault in a folder of its own, which stays if its end is unexplained."""
    shutil.rmtree(scene.folder, ignore_errors=True)
    scene.folder.mkdir(parents=True)
    try:
        outcome = inflict(scene)
    except Exception as error:  # noqa: BLE001 (the other faults go on; the table tells of it)
        outcome = Outcome("", "unexplained", f"torture failed: {error!r}\n{traceback.format_exc()}")
    if outcome.ended != "unexplained":
        shutil.rmtree(scene.folder)
    return outcome


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row for each kind and stage, and one for all."""
    found = Counter((row["kind"], row["stage"], row["ended"]) for row in rows)
    places = list(dict.fromkeys((row["kind"], row["stage"]) for row in rows))
    table = []
    for kind, stage in places:
        ends = {end: found[kind, stage, end] for end in ENDS}
        table.append({"kind": kind, "stage": stage, "tried": sum(ends.values()), **ends})
    totals = {name: sum(row[name] for row in table) for name in ("tried", *ENDS)}
    return [
        {name: str(value) for name, value in row.items()} for row in [*table, {"kind": "all", "stage": ""} | totals]
    ]


def shown(table: Sequence[Row]) -> str:
    """The table as text."""
    titles = {"undisturbed": "ended as undisturbed", "one line": "ended in one line"}
    cells = [[titles.get(name, name) for name in table[0]], *(list(row.values()) for row in table)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows, of which there is at least one."""
    partial = path.with_name(f".partial-{path.name}")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


if __name__ == "__main__":
    main()
