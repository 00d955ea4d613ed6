"""The space that a sweep searches: a file in presets/sweeps, read and checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kws.core.errors import UserError
from kws.core.params import Params, read_yaml

PIPELINE = Path("dvc.yaml")
FRONT_END = (
    *("front_end", "sample_rate", "frame_length", "hop_length", "fft_length"),
    *("mel_bins", "mel_low_hz", "mel_high_hz", "log_offset"),
)
NOT_SEARCHED = ("seed", "threads")  # they change figures by chance: the best of them would be luck
DIGITS = 3  # of a searched number that is no whole one: more digits make no difference, and nobody can read them


class Range(BaseModel):
    """The numbers from `low` to `high`; `log`: on a logarithmic scale."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low, {self.low:g}, is not below high, {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: low, {self.low:g}, must be above 0")
        return self


class Space(BaseModel):
    """What all trials have in common, and what they search.

    Attributes:
        preset: all trials begin with its parameters.
        settings: parameters of all trials that override the preset's; in the file it is `set`.
        search: by parameter, the values to choose from, or a range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    preset: str
    settings: dict[str, Any] = Field(default={}, alias="set")
    search: dict[str, Range | list[bool | int | float | str]] = Field(min_length=1)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The space in a file.

        Raises:
            UserError: one line that says what is wrong, and what is allowed.
        """
        if not path.is_file():
            spaces = ", ".join(map(str, sorted(Path("presets/sweeps").glob("*.yaml"))))
            raise UserError(f"SPACE={path}: no such file; the spaces are {spaces}")
        try:
            space = cls.model_validate(read_yaml(path))
        except ValidationError as error:
            problems = {f"{'.'.join(map(str, one['loc'][:2]))}: {one['msg']}": None for one in error.errors()}
            raise UserError(f"{path}: " + "; ".join(problems)) from None
        space.check_names(path)
        return space

    def check_names(self, path: Path) -> None:
        """Checks which parameters are searched; path and errors as in `read`."""
        allowed = searchable()
        for name, values in self.search.items():
            if name not in allowed:
                raise UserError(
                    f"{path}: search: {name} is not what training or the front end reads, or changes figures by "
                    f"chance; search among {', '.join(allowed)}"
                )
            if name in self.settings:
                raise UserError(f"{path}: {name} is in set and in search; leave it in one of them")
            if isinstance(values, Range) and Params.model_fields[name].annotation not in (int, float):
                raise UserError(f"{path}: search: {name} is no number; give a list of values")
            if isinstance(values, list) and len(values) < 2:
                raise UserError(f"{path}: search: {name}: {values} is no choice; give two values, or put it into set")

    def check(self, path: Path, base: Params) -> None:
        """Checks each value by itself, in an experiment that has the base's parameters otherwise.

        Raises:
            UserError: a value is not allowed. Values that do not fit together are no mistake: such a trial fails.
        """
        for name, values in self.search.items():
            ends = values if isinstance(values, list) else [values.low, values.high]
            whole = Params.model_fields[name].annotation is int
            for value in ends:
                number = int(value) if whole and isinstance(value, float) and value.is_integer() else value
                try:
                    Params.model_validate(base.model_dump() | {name: number})
                except ValidationError as error:
                    for problem in error.errors():
                        if problem["loc"]:
                            reason = f"search: {name}: {value!r} is refused: {problem['msg']}"
                            raise UserError(f"{path}: {reason}") from None

    def suggest(self, trial: Any) -> dict[str, Any]:
        """The values of a trial of Optuna's, by parameter. Those that are no whole numbers have three digits."""
        values: dict[str, Any] = {}
        for name, choice in self.search.items():
            if isinstance(choice, list):
                values[name] = trial.suggest_categorical(name, choice)
            elif Params.model_fields[name].annotation is int:
                values[name] = trial.suggest_int(name, int(choice.low), int(choice.high), log=choice.log)
            else:
                suggested = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
                values[name] = min(max(float(f"{suggested:.{DIGITS}g}"), choice.low), choice.high)
        return values

    def scales(self) -> dict[str, Literal["linear", "log"]]:
        """The scale on which each parameter is drawn."""
        return {
            name: "log" if isinstance(choice, Range) and choice.log else "linear"
            for name, choice in self.search.items()
        }

    def identity(self, overrides: Sequence[str]) -> dict[str, Any]:
        """What must be equal for all workers of a study, given the parameters that all trials have in common."""
        search = {
            name: values if isinstance(values, list) else values.model_dump() for name, values in self.search.items()
        }
        return {"overrides": list(overrides), "search": search}


@dataclass(frozen=True)
class Search:
    """What a worker is asked for.

    Attributes:
        file: of the space.
        space: that is searched.
        base: the parameters of all trials, before those that are searched.
        overrides_of: given searched values, all parameters that a trial sets, as option -S of DVC takes them.
        wanted: how many trials the study is to have in all, whoever runs them.
    """

    file: Path
    space: Space
    base: Params
    overrides_of: Callable[[Mapping[str, Any]], list[str]]
    wanted: int


def searchable() -> list[str]:
    """The parameters that can be searched: those of training and of the front end.

    Others change which clips are in validation, so that trials could not be compared, or nothing that validation sees.
    """
    training: Mapping[str, Any] = read_yaml(PIPELINE)["stages"]["train"]
    names = [name for name in training["params"] if isinstance(name, str) and name not in NOT_SEARCHED]
    return [*FRONT_END, *names]
