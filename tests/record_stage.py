"""Runs a stage and notes what it read: parameters, modules of kws, imported packages, files of the project.

`python record_stage.py stages/train.py` writes `$KWS_RECORDS/train.json`. In the tests a program called `python` does
that in place of DVC's.
"""

import json
import os
import runpy
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path.cwd()
read_files: set[str] = set()
read_params: set[str] = set()


def note_file(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: notes each file of the project that Python opens for reading."""
    if event == "open" and isinstance(arguments[0], str | os.PathLike) and str(arguments[1] or "r")[0] == "r":
        path = Path(os.path.abspath(arguments[0]))  # noqa: PTH100 (links are not followed)
        if path.is_relative_to(ROOT) and not beside_the_work():
            read_files.add(path.relative_to(ROOT).as_posix())


def beside_the_work() -> bool:
    """Whether kws.tracking or kws.core.intact is at work: what they read changes no output."""
    frame = sys._getframe()
    while frame := frame.f_back:
        if frame.f_globals.get("__name__", "").startswith(("kws.tracking", "kws.core.intact")):
            return True
    return False


def note_params() -> None:
    """Has the checked parameters note which of them are read."""
    from kws.core import params

    load, plain = params.load_params, params.Params.__getattribute__
    names = set(params.Params.model_fields)

    def noting(self: params.Params, name: str) -> Any:
        if name in names and not beside_the_work():
            read_params.add(name)
        return plain(self, name)

    def load_and_note(*arguments: Any) -> params.Params:
        loaded = load(*arguments)
        params.Params.__getattribute__ = noting
        return loaded

    params.load_params = load_and_note


def use_one_process() -> None:
    """Has the stage project compute its projections in this process, which notes what they import."""
    from kws.project import second_process

    second_process.results_of = lambda function, *arguments: nullcontext(iter(function(*arguments)))


def main() -> None:
    script = Path(sys.argv[1])
    sys.argv = sys.argv[1:]
    note_params()
    if script.stem == "project":
        use_one_process()
    sys.addaudithook(note_file)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        files = [getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith("kws")]
        record = {
            "params": sorted(read_params),
            "modules": sorted(Path(file).resolve().relative_to(ROOT).as_posix() for file in files if file),
            "imports": sorted({name.partition(".")[0] for name in sys.modules}),
            "files": sorted(read_files),
        }
        Path(os.environ["KWS_RECORDS"], f"{script.stem}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
