"""`kws` recognises words in sound files and from the microphone, with an exported model. It needs no TensorFlow.

Exit codes: 0, everything was answered; 1, something was not, and a line on stderr says what; 2, wrong usage.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from tqdm import tqdm

from kws.audio.decode import decode_recording, read_blocks
from kws.audio.formats import is_hidden, is_sound_file
from kws.audio.mono import UnusableClipError
from kws.core import paths
from kws.core.errors import UserError
from kws.core.naming import by_kind
from kws.record.microphone import meter, microphone, sounddevice
from kws.spotting.detect import SENSITIVITIES, Timing, one_threshold
from kws.spotting.litert import KINDS, Network
from kws.spotting.spotter import Spotter

MODEL = paths.SPOTTER
STREAM = MODEL.with_name(KINDS["stream"])  # hears the same with less work: taken where it is there
PIPE = "-"  # in place of a file: standard input
SHOWN = 3  # likeliest classes
MOST_PIPE_BYTES = 2**28  # are kept in memory
LONGER = 1.1  # times a clip's length: a file up to this length is one clip, cut as in training
KEEP_MOST = 500  # sounds that nobody has judged: an hour's work, and some 15 MB
PORT = 5002  # of the page; `make ui` and `make serve` take those before it
RECORD_PORT = 5003  # of the page that records
REVIEW_PORT = 5004  # of the page that reviews


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # file names may not be valid text
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
    except UserError as error:
        return _report(error)
    except BrokenPipeError:  # as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def predict(options: argparse.Namespace) -> int:
    """Prints the answers for files and folders. Files that cannot be read are reported and skipped."""
    spotter = Spotter.load(options.model)
    threshold = _threshold(spotter, options)
    code = 0
    for given in options.files:
        try:
            found = _sound_files(given)
        except UserError as problem:
            code = _report(problem)
            continue
        for name in found:
            try:
                for start, answers in _answers(spotter, name, threshold):
                    tqdm.write(_row(name, start, answers, as_json=options.json), file=sys.stdout)
            except BrokenPipeError:  # of stdout, not of the file
                raise
            except UserError as problem:
                code = _report(problem)
            except (UnusableClipError, OSError) as problem:
                reason = problem.strerror if isinstance(problem, OSError) else problem
                code = _report(UserError(f"{name}: {reason}"))
    return code


def listen(options: argparse.Namespace) -> int:
    """Prints the words in the sound of the microphone or a file, until it ends."""
    if options.devices:
        print(sounddevice().query_devices())
        return 0
    spotter = Spotter.load(options.model)
    threshold = _threshold(spotter, options)
    name = options.source
    remarks: list[str] = []
    blocks: Iterator[np.ndarray]
    if name is None:
        name = "microphone"
        blocks = microphone(spotter.sample_rate, options.device, remarks)
    else:
        _refuse_what_is_no_file(name)
        blocks = read_blocks(_standard_input() if name == PIPE else Path(name), spotter.sample_rate, remarks)
    words = ", ".join(spotter.classes[index] for index in spotter.words)
    print(f"listening for {words}; {options.model.name}; threshold {threshold:.2f}; Ctrl-C stops", file=sys.stderr)
    heard = _metered(_remarked(blocks, name, remarks))
    kept = None
    if options.keep:
        from kws.spotting.keep import Collector, keeping

        collector = Collector(options.keep, options.keep_most, options.model, spotter, threshold)
        kept = keeping(spotter, heard, threshold, collector)
    try:
        for found in kept or spotter.detect(heard, threshold):
            seconds = found.window * spotter.step_samples / spotter.sample_rate
            line = {"start": round(seconds, 3), "word": spotter.classes[found.word], "score": round(found.score, 4)}
            _clear_meter()
            text = f"{_clock(seconds)}  {line['word']}  {found.score:.1%}"
            print(json.dumps(line, ensure_ascii=False) if options.json else text, flush=True)
    except UnusableClipError as problem:
        raise UserError(f"{name}: {problem}") from None
    except KeyboardInterrupt:
        pass
    finally:
        _clear_meter()
        if kept:
            kept.close()
            print(collector.told(), file=sys.stderr)
    return 0


def wyoming(options: argparse.Namespace) -> int:
    """Serves the words of a model to Home Assistant and others, until it is stopped."""
    try:
        from kws.spotting.wyoming import host_and_port, serve
    except ImportError:
        raise UserError("kws wyoming needs the package wyoming: pip install 'kws[wyoming]'") from None
    threshold = _threshold(Spotter.load(options.model), options)
    serve(host_and_port(options.uri), options.model, threshold)
    return 0


def info(options: argparse.Namespace) -> int:
    """Prints the description that is stored in a model."""
    network = Network.load(options.model)
    about = network.about | {"bytes": options.model.stat().st_size}
    if options.json:
        print(json.dumps(about, ensure_ascii=False))
        return 0
    spec = about["front_end"]
    seconds = spec["clip_samples"] / spec["sample_rate"]
    step = about.get("step_frames", 0) * spec["hop_length"] / spec["sample_rate"]
    steps = f", heard in steps of {step:g} s" if step else ""
    print(f"""\
kind        {about["kind"]}, {about["bytes"]:,} bytes
classes     {", ".join(about["classes"])}
input       {"features" if network.takes_features else "waveform"} of {seconds:g} s at {spec["sample_rate"]} Hz{steps}
front end   {spec.get("kind", "log_mel")}: {spec["frames"]} frames of {spec["frame_length"]} samples, \
one each {spec["hop_length"]}, FFT of {spec["fft_length"]}, {spec["mel_bins"]} Mel bins \
from {spec["mel_low_hz"]:g} to {spec["mel_high_hz"]:g} Hz
threshold   {about["threshold"]:g}{_sensitivities(about)}""")
    return 0


def web(options: argparse.Namespace) -> int:
    """Shows a page that listens in the browser, or writes it for any static host."""
    from kws.web.page import page, serve_page, write_page

    network = Network.load(options.model)
    if network.takes_features:
        raise UserError(f"{options.model}: takes features, and the page has no front end: give a file that takes sound")
    spotter = Spotter(network)
    settings = {
        "about": network.about,
        "words": spotter.words,
        "timing": asdict(Timing.of(spotter.clip_samples, network.about["front_end"]["hop_length"])),
        "longest_clip_samples": int(LONGER * spotter.clip_samples),
    }
    content = page(options.model.read_bytes(), settings)
    if options.out:
        write_page(content, options.out)
        print(f"{options.out}: the page, {sum(map(len, content.values())):,} bytes")
    else:
        serve_page(content, options.port)
    return 0


def record(options: argparse.Namespace) -> int:
    """Records words: it says which, checks each take, and keeps it as the pipeline reads it."""
    if options.devices:
        print(sounddevice().query_devices())
        return 0
    in_terminal = {"--yes": options.yes, "--no-playback": options.no_playback, "--device": options.device is not None}
    if options.page and any(in_terminal.values()):
        given = ", ".join(name for name, value in in_terminal.items() if value)
        raise UserError(f"{given}: for the terminal alone; leave it out with --page, where the browser asks and plays")
    try:
        from kws.record import page, terminal
        from kws.record.takes import Plan
    except ImportError as error:
        missing = str(error.name).partition(".")[0]
        raise UserError(f"kws record needs the package {missing}: pip install 'kws[record]'") from None
    plan = Plan(options.to, options.words, options.takes, options.other, options.noise, options.clip_seconds).checked()
    speaker = "" if options.speaker is None else plan.speaker(options.speaker)
    if not (speaker or options.page):
        raise UserError("--speaker NAME is missing: who speaks; each person has a name of their own")
    if options.source is None:
        opened, play = terminal.microphone_of(options.device), None if options.no_playback else terminal.play
    else:
        _refuse_what_is_no_file(options.source)
        opened, play = terminal.sound_of(Path(options.source)), None
    whole = True
    try:
        if options.page:
            page.serve(plan, speaker, options.host, options.port)  # until Ctrl-C
        else:
            whole = terminal.record(plan, speaker, opened, play, sure=options.yes)
    except UnusableClipError as problem:
        raise UserError(f"{options.source}: {problem}") from None
    finally:
        for line in plan.summary():
            print(line)
    return 0 if whole else _report(UserError(f"takes of {speaker} are missing; the same command goes on"))


def review(options: argparse.Namespace) -> int:
    """Show what kws listen --keep has kept, for yes or no; or make recordings of the answers."""
    from kws.kept.folder import KeptFolder
    from kws.kept.page import serve_review
    from kws.kept.recordings import make_recordings, report_lines

    folder = KeptFolder(options.folder)
    if options.to is None:
        serve_review(folder, options.port)
    else:
        made = make_recordings(folder, options.to)
        print("\n".join(report_lines(made, options.folder, options.to)))
    return 0


def _threshold(spotter: Spotter, options: argparse.Namespace) -> float:
    """The threshold that the command line asks for."""
    if options.sensitivity is None:
        return spotter.threshold if options.threshold is None else options.threshold
    name = options.sensitivity.replace("-", "_")
    if name not in spotter.thresholds:
        raise UserError(f"{options.model}: has one threshold, {spotter.threshold:g}; give another one by --threshold")
    return spotter.thresholds[name]


def _sensitivities(about: dict[str, Any]) -> str:
    """For each sensitivity of a model its threshold, and what the streams of validation and test say of it."""
    if "sensitivities" not in about:
        return ""
    levels, hours = about["sensitivities"], about["stream_hours"]
    lines = [f"; chosen in {hours:.2g} h of validation stream, judged in as much test stream"]
    if about["kind"] not in (about["measured_with"], "stream"):  # a stream answers as it does
        lines[0] += f"; measured with the {about['measured_with']} network, not with this one"
    if about["kind"] == "stream_features":
        lines[0] += ", which was compared on whole clips alone"
    for name, level in levels.items():
        chosen = f"for {level['allowed_false_alarms_an_hour']:g} false alarms an hour"
        if "rate_not_kept" in level:
            chosen += "; no threshold keeps that"
        if "too_short" in level:
            chosen += f"; {hours:.2g} h are too short to tell that"
        lines.append(f"{'':12}{name.replace('_', '-'):17} {level['threshold']:<9g} {chosen}")
        lines += [f"{'':30}{split}: {_measured(level, split)}" for split in ("validation", "test")]
    same = one_threshold({name.replace("_", "-"): level["threshold"] for name, level in levels.items()})
    return "\n".join([*lines, f"{'':12}{same}"] if same else lines)


def _measured(level: dict[str, float], split: str) -> str:
    """False alarms and missed words in the stream of a split, with their intervals."""
    alarms, low, high = (level[f"{split}_false_alarms_an_hour{end}"] for end in ("", "_low", "_high"))
    text = f"{alarms:.3g} ({low:.3g} to {high:.3g}) false alarms an hour"
    if f"{split}_missed" in level:  # else no word was said
        missed, low, high = (level[f"{split}_missed{end}"] for end in ("", "_low", "_high"))
        text += f", {missed:.1%} ({low:.1%} to {high:.1%}) of the words missed"
    return text


def _refuse_what_is_no_file(given: str) -> None:
    if not given:
        raise UserError(f"an empty name: give a sound file, or {PIPE} for a pipe")
    if "://" in given:
        raise UserError(f"{given}: addresses are not read; download the file, or pipe it in and give {PIPE}")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:  # as by `<&-`
        raise UserError(f"{PIPE}: no standard input")
    return sys.stdin.buffer


def _sound_files(given: str) -> list[str]:
    """The file itself, or the recordings below a folder, by name. What is no sound there is counted.

    Raises:
        UserError: a name that is none was given, or the folder holds no recording.
    """
    _refuse_what_is_no_file(given)
    if not Path(given).is_dir():
        return [given]
    kinds = [
        (path, _no_sound(path))
        for path in sorted(Path(given).rglob("*"))
        if not is_hidden(path.relative_to(given).as_posix()) and (path.is_symlink() or not path.is_dir())
    ]
    for line in by_kind((path.name, kind) for path, kind in kinds if kind):
        print(f"{given}: left out, {line}", file=sys.stderr)
    found = [str(path) for path, kind in kinds if not kind]
    if not found:
        raise UserError(f"{given}: no sound files in this folder")
    return found


def _no_sound(path: Path) -> str:
    """Why an entry of a folder is not read; empty for a recording."""
    if path.is_file():
        return "" if is_sound_file(path) else "no sound"
    if path.is_dir():
        return "links to folders"
    return "links that lead nowhere" if path.is_symlink() and not path.exists() else "no files"


def _answers(spotter: Spotter, name: str, threshold: float) -> Iterator[tuple[float | None, list[tuple[str, float]]]]:
    """Yields when a word starts, in seconds, and the likeliest classes: once for a clip, else for each detection.

    A longer file without a detection yields None and an empty list.
    """
    with _opened(name) as file:
        remarks: list[str] = []
        blocks = read_blocks(file, spotter.sample_rate, remarks, may_be_silent=False)
        head: list[np.ndarray] = []
        limit = int(LONGER * spotter.clip_samples)
        for block in blocks:
            head.append(block)
            if sum(map(len, head)) > limit:
                break
        else:  # a clip: decoded by the rules of the pipeline, which refuse silence
            file.seek(0)
            sound = decode_recording(file.read(), spotter.sample_rate)
            for remark in sound.remarks:
                _remark(name, remark)
            yield 0.0, _likeliest(spotter, spotter.clip(sound.samples))
            return
        detected = False
        whole = _remarked(chain(head, blocks), name, remarks)
        for found in spotter.detect(_progress(whole, name, _seconds(name), spotter.sample_rate), threshold):
            detected = True
            yield found.window * spotter.step_samples / spotter.sample_rate, _likeliest(spotter, found.probabilities)
        if not detected:
            yield None, []


def _opened(name: str) -> BinaryIO:
    """A file, or the whole of a pipe, which cannot be read twice."""
    if name == PIPE:
        return _whole(_standard_input(), name)
    path = Path(name)
    if path.is_file() or not path.exists():
        return path.open("rb")
    with path.open("rb") as pipe:
        return _whole(pipe, name)


def _whole(pipe: BinaryIO, name: str) -> BinaryIO:
    content = pipe.read(MOST_PIPE_BYTES + 1)
    if len(content) > MOST_PIPE_BYTES:
        raise UserError(f"{name}: more than {MOST_PIPE_BYTES:,} bytes from a pipe; kws listen --source {name} reads on")
    return io.BytesIO(content)


def _seconds(name: str) -> int | None:
    """How long a file lasts, for the progress bar; None for a pipe, and if libsndfile cannot tell."""
    if not Path(name).is_file():
        return None
    try:
        return round(soundfile.info(name).duration)
    except (soundfile.SoundFileError, RuntimeError):
        return None


def _likeliest(spotter: Spotter, probabilities: np.ndarray) -> list[tuple[str, float]]:
    order = np.argsort(-probabilities, kind="stable")[:SHOWN]
    return [(spotter.classes[index], float(probabilities[index])) for index in order]


def _row(name: str, start: float | None, answers: list[tuple[str, float]], *, as_json: bool) -> str:
    if as_json:
        named = [{"word": word, "probability": round(probability, 4)} for word, probability in answers]
        row = {"file": name, "start": start if start is None else round(start, 3), "answers": named}
        return json.dumps(row, ensure_ascii=False)
    shown = "  ".join(f"{word} {probability:.1%}" for word, probability in answers)
    return f"{name}  {'-' if start is None else _clock(start)}  {shown or 'no word'}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{rest:04.1f}"


def _remark(name: str, remark: str) -> None:
    _clear_meter()
    tqdm.write(f"{name}: {remark}", file=sys.stderr)


def _remarked(blocks: Iterable[np.ndarray], name: str, remarks: list[str]) -> Iterator[np.ndarray]:
    """The blocks; prints what is remarked as soon as it is."""
    told = 0
    for block in chain(blocks, [np.zeros(0, np.float32)]):  # the last remarks come after the last block
        for remark in remarks[told:]:
            _remark(name, remark)
        told = len(remarks)
        yield block


def _progress(blocks: Iterable[np.ndarray], name: str, total: int | None, sample_rate: int) -> Iterator[np.ndarray]:
    """The blocks, with a progress bar on a terminal if it takes longer than a second."""
    with tqdm(total=total, desc=Path(name).name, unit="s", delay=1, disable=None, leave=False) as bar:
        for block in blocks:
            yield block
            bar.update(len(block) / sample_rate)


def _metered(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks; prints their level on the terminal."""
    for block in blocks:
        if sys.stderr.isatty() and len(block):
            print(f"\r{meter(block)}", end="", file=sys.stderr, flush=True)
        yield block


def _clear_meter() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _report(problem: UserError) -> int:
    sys.stdout.flush()  # so that stdout and stderr in one file are in order
    print(f"error: {problem}", file=sys.stderr)
    return 1


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
        return int(text)

    return read


def _clip_length(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text} is not from 0.1 to 10")
    return value


_port = _whole_number(0, 2**16 - 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kws", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lightest = STREAM if STREAM.is_file() else MODEL
    for run, about in (
        (predict, "recognise words in sound files"),
        (listen, "recognise words from the microphone"),
        (wyoming, "serve the words to Home Assistant, by the Wyoming protocol"),
        (info, "describe a model: classes, input, front end, threshold"),
    ):
        command = commands.add_parser(run.__name__, help=about, description=about)
        command.set_defaults(run=run)
        if run is not wyoming:
            command.add_argument("--json", action="store_true", help="one JSON object per line")
        if run is info:
            command.add_argument("model", type=Path, nargs="?", default=MODEL, help=f"a LiteRT file ({MODEL})")
            continue
        default = lightest if run in {listen, wyoming} else MODEL
        command.add_argument("--model", "-m", type=Path, default=default, help=f"a LiteRT file ({default})")
        when = command.add_mutually_exclusive_group()
        when.add_argument(
            "--threshold",
            type=_share,
            help="probability from which a word in a stream counts (default: the model's, for balanced)",
        )
        when.add_argument(
            "--sensitivity",
            choices=[name.replace("_", "-") for name in SENSITIVITIES],
            help="take the model's threshold for few misses, or for few false alarms; kws info tells what they bring",
        )
        if run is predict:
            command.add_argument(
                "files", nargs="+", metavar="FILE", help="sound files, folders of them, or - for a pipe"
            )
        elif run is wyoming:
            command.add_argument(
                "--uri",
                default="tcp://127.0.0.1:10400",
                help="address to listen on (%(default)s: this machine alone; tcp://0.0.0.0:10400: its whole network)",
            )
        else:
            command.add_argument("--source", metavar="FILE", help="a sound file, or -, instead of the microphone")
            command.add_argument("--device", help="name or number of the microphone")
            command.add_argument(
                "--keep", type=Path, metavar="FOLDER", help="keep the sound of detected and nearly detected words there"
            )
            command.add_argument(
                "--keep-most",
                type=_whole_number(1, 1_000_000),
                metavar="N",
                default=KEEP_MOST,
                help="keep so many sounds that nobody has judged, the newest (%(default)s)",
            )
            command.add_argument("--devices", action="store_true", help="list the microphones")
    _add_record(commands)
    command = commands.add_parser(web.__name__, help=web.__doc__, description=web.__doc__)
    command.set_defaults(run=web)
    command.add_argument("--model", "-m", type=Path, default=lightest, help=f"a LiteRT file ({lightest})")
    command.add_argument("--out", type=Path, metavar="FOLDER", help="write the page into a folder, and stop")
    command.add_argument("--port", type=_port, default=PORT, help=f"to serve the page at on this machine ({PORT})")
    command = commands.add_parser(review.__name__, help=review.__doc__, description=review.__doc__)
    command.set_defaults(run=review)
    command.add_argument("folder", type=Path, metavar="FOLDER", help="what kws listen --keep was given")
    command.add_argument(
        "--port", type=_port, default=REVIEW_PORT, help=f"of the page, on this machine ({REVIEW_PORT})"
    )
    command.add_argument(
        "--to", type=Path, metavar="RECORDINGS", help="add recordings of the answers to this data set, and stop"
    )
    return parser


def _add_record(commands: Any) -> None:
    command = commands.add_parser(record.__name__, help=record.__doc__, description=record.__doc__)
    command.set_defaults(run=record)
    command.add_argument("words", nargs="*", metavar="WORD", help="to say")
    command.add_argument("--speaker", metavar="NAME", help="who speaks")
    command.add_argument(
        "--takes", type=_whole_number(1, 1000), default=5, help="of each word, by this speaker (%(default)s)"
    )
    command.add_argument(
        "--other",
        type=_whole_number(0, 1000),
        default=0,
        metavar="N",
        help="so many other words to read, in English, once each",
    )
    command.add_argument(
        "--noise",
        type=_whole_number(1, 60),
        nargs="?",
        const=1,
        default=0,
        metavar="MINUTES",
        help="minutes of the room, in which nobody speaks",
    )
    command.add_argument(
        "--to", type=Path, default=Path("recordings"), metavar="FOLDER", help="where all of it is kept (%(default)s)"
    )
    command.add_argument(
        "--clip-seconds",
        type=_clip_length,
        default=1.0,
        help="how long a word may last, as the parameter (%(default)s)",
    )
    heard = command.add_mutually_exclusive_group()
    heard.add_argument("--page", action="store_true", help="record in a browser, by a page on this machine")
    heard.add_argument("--source", metavar="FILE", help="a sound file instead of the microphone; it is not played")
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="of the page (%(default)s: this machine alone; 0.0.0.0: a phone in its network, too, over https)",
    )
    command.add_argument("--port", type=_port, default=RECORD_PORT, help="of the page (%(default)s)")
    command.add_argument("--yes", action="store_true", help="keep each good take, repeat the others, and do not ask")
    command.add_argument("--no-playback", action="store_true", help="do not play the takes")
    command.add_argument("--device", help="name or number of the microphone")
    command.add_argument("--devices", action="store_true", help="list the microphones")
