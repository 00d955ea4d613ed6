"""A study that workers share through a database: which trial is next, who is alive, what is run again."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from kws.core.address import public_address
from kws.core.errors import UserError
from kws.sweep.copy import POLL

GRACE = 120  # s: a worker that has not said for so long that it is alive is taken to be dead
RETRIES = 1  # how often a trial is run again whose worker was killed
LOCK = 5_001_022  # of PostgreSQL's advisory locks: any number that other programs do not use
WARMUP = 5  # trials that train to their end before any is stopped
BEGUN = "begun"  # what a trial keeps of its first sign of life
QUOTES = "'\""  # that a setting may have around an address
PUT_BACK = "put back"  # the reason of a trial whose worker ended otherwise than by a kill, such as by Ctrl-C


@dataclass(frozen=True)
class Taken:
    """A trial that this worker runs.

    Attributes:
        number: of the trial, from 1; one that is run again keeps it.
        values: of the searched parameters.
        trial: Optuna's.
        id: in the database.
    """

    number: int
    values: dict[str, Any]
    trial: Any
    id: int


class SharedStudy:
    """A study in a database. All methods may be called by several workers at once, on one machine or on many."""

    def __init__(self, study: Any, storage: Any) -> None:
        self.study, self._storage = study, storage

    @classmethod
    def open(cls, url: str, name: str) -> Self:
        """Opens a study, and creates it if it does not exist.

        Raises:
            UserError: the database cannot be used; the line does not show the password.
        """
        try:
            place = make_url(url)
        except (ArgumentError, ValueError):  # ValueError: the port is no number. The address may hold a password
            raise UserError(
                f"STORAGE={url.partition(':')[0]}…: this is no address of a database; give "
                "postgresql://user@host/database, or leave it out"
            ) from None
        shown = URL.create(place.drivername, host=place.host, port=place.port, database=place.database)
        try:
            if place.drivername in ("postgresql", "postgres"):
                place = place.set(drivername="postgresql+psycopg")
            if place.get_backend_name() not in ("sqlite", "postgresql"):
                raise UserError(f"STORAGE={shown}: give postgresql://user@host/database, or leave it out")
            engine = create_engine(place)
            with _holding(engine), _quiet():
                tables = inspect(engine).get_table_names()
                if "alembic_version" in tables and "studies" not in tables:
                    raise UserError(
                        f"STORAGE={shown}: another program, such as MLflow, has its tables in this "
                        "database; give a database of its own"
                    )
                storage = RDBStorage(
                    place.render_as_string(hide_password=False),
                    engine_kwargs={"pool_pre_ping": True},  # the server may have been started again
                    heartbeat_interval=max(1, int(POLL)),
                    grace_period=GRACE,
                )
                study = optuna.create_study(
                    storage=storage,
                    study_name=name,
                    direction="maximize",
                    load_if_exists=True,
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=WARMUP),
                )
        except (SQLAlchemyError, RuntimeError) as error:  # RuntimeError: tables of another version of Optuna
            raise UserError(f"STORAGE={shown}: {database_reason(error)}") from None
        return cls(study, storage)

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.study.study_name)

    @property
    def commit(self) -> str:
        """At which its trials begin."""
        return str(self.study.user_attrs["commit"])

    def trials(self) -> list[FrozenTrial]:
        """All trials, also those that were run again."""
        return list(self.study.get_trials(deepcopy=False))

    def agree(self, identity: Mapping[str, Any], commit: Callable[[], str]) -> str:
        """Checks that this worker wants what the study wants, and returns the commit at which its trials begin.

        Args:
            identity: what must be equal for all workers.
            commit: gives that of a new study.

        Raises:
            UserError: the study was begun with something else; or as `commit`.
        """
        with self.alone():
            known = self.study.user_attrs
            if "commit" not in known:  # it is written last: a worker may be killed before
                begins = commit()
                self.study.set_user_attr("identity", dict(identity))
                self.study.set_user_attr("commit", begins)
                known = self.study.user_attrs
        if known["identity"] != identity:
            raise UserError(
                f"STUDY={self.name}: it was begun with another SPACE, preset or SET "
                f"({_difference(known['identity'], identity)}); give another STUDY"
            )
        return self.commit

    def take(self, wanted: int, suggest: Callable[[Any], dict[str, Any]]) -> tuple[Taken | None, int]:
        """Takes the next trial: one whose worker was killed, else a new one while there are fewer than wanted.

        Returns:
            The trial, or None; and how many other ones are running.
        """
        with self.alone():
            self._take_up()
            trials = self.trials()
            running = sum(trial.state == TrialState.RUNNING for trial in trials)
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and len(numbered(trials)) >= wanted:
                return None, running
            # By the number of trials, since two workers with one seed would draw the same first trials
            self.study.sampler = optuna.samplers.TPESampler(seed=len(trials), constant_liar=True)
            trial = self.study.ask()
            place = self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)
            self._storage.record_heartbeat(place)
            trial.set_user_attr(BEGUN, trial.number)
            values = suggest(trial)
            first = first_run(self._storage.get_trial(place))
            number = next(number for number, runs in numbered(self.trials()).items() if runs[0].number == first)
        return Taken(number, values, trial, place), running

    def beat(self, taken: Taken) -> None:
        """Says that the worker of a trial is alive."""
        self._storage.record_heartbeat(taken.id)

    def report(self, taken: Taken, epochs: list[dict[str, float]], judged_after: float) -> None:
        """Reports the epochs of a trial that the study does not have.

        Args:
            taken: the trial.
            epochs: rows of the training curve.
            judged_after: number of epochs after which the trial may be stopped.

        Raises:
            optuna.TrialPruned: its best validation accuracy so far is below the median, at this epoch, of the trials
                that have trained to their end (the median stopping rule; Golovin et al., 2017, Google Vizier).
            optuna.exceptions.UpdateFinishedTrialError: another worker has taken this trial over.
        """
        trial = self._storage.get_trial(taken.id)
        if trial.state != TrialState.RUNNING:
            raise UpdateFinishedTrialError
        for row in epochs:
            if row["epoch"] not in trial.intermediate_values:
                taken.trial.report(row["validation_accuracy"], int(row["epoch"]))
                if row["epoch"] > judged_after and taken.trial.should_prune():
                    raise optuna.TrialPruned

    def settle(self, taken: Taken, state: TrialState, kept: Mapping[str, Any], value: float | None = None) -> bool:
        """Ends a trial, and keeps what is to be known of it.

        Returns:
            Whether it was still this worker's; if not, nothing is changed.
        """
        with self.alone():
            if self._storage.get_trial(taken.id).state != TrialState.RUNNING:
                return False
            for name, content in kept.items():
                taken.trial.set_user_attr(name, content)
            self.study.tell(taken.trial, value, state)
        return True

    def put_back(self, taken: Taken, kept: Mapping[str, Any]) -> None:
        """Ends a trial that this worker does not finish. The next worker that asks for a trial gets it."""
        self.settle(taken, TrialState.FAIL, {**kept, "reason": PUT_BACK})

    def data(self) -> dict[str, Any] | None:
        """On which data the whole trainings of the study were; None: there are none."""
        whole = (trial for trial in self.trials() if trial.state == TrialState.COMPLETE)
        return next((dict(trial.user_attrs["data"]) for trial in whole), None)

    @property
    def _id(self) -> int:
        return int(self._storage.get_study_id_from_name(self.name))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lets one worker at a time do what stands in the `with` statement."""
        with _holding(self._storage.engine), _quiet():
            yield

    def _take_up(self) -> None:
        """Has trials run again: those of killed workers once, those that were put back each time.

        Whoever calls it holds the lock.

        A worker may be killed at any moment, also in this method. So each step follows from what is in the database,
        and the next worker does what is left.
        """
        fail_stale_trials(self.study)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(BEGUN) != trial.number:  # killed before it said for the first time that it is alive
                self.study.tell(trial.number, state=TrialState.FAIL)
        trials = self.study.get_trials()
        again = {number for trial in trials for number in retry_history(trial)}
        for trial in trials:
            earlier = [trials[number] for number in retry_history(trial)]
            killed = was_killed(trial) and sum(map(was_killed, earlier)) < RETRIES
            if trial.number not in again and (killed or trial.user_attrs.get("reason") == PUT_BACK):
                trial.user_attrs = {}  # they are those of the run that ended
                RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(self.study, trial)


def was_killed(trial: FrozenTrial) -> bool:
    """Whether the worker of a trial was killed: a worker that lives says why a trial failed."""
    return bool(trial.state == TrialState.FAIL and "reason" not in trial.user_attrs)


def retry_history(trial: FrozenTrial) -> list[int]:
    """The numbers of the earlier runs of a trial, the first one first."""
    return list(trial.system_attrs.get("retry_history", []))  # where RetryHeartbeatStaleTrialCallback keeps them


def first_run(trial: FrozenTrial) -> int:
    """Optuna's number of a trial; if it is run again, that of its first run."""
    return int([*retry_history(trial), trial.number][0])


def numbered(trials: Sequence[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    """The runs of each trial, the first one first, by the trial's number from 1. Later trials never change a number."""
    runs: dict[int, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        runs.setdefault(first_run(trial), []).append(trial)
    return dict(enumerate(runs.values(), start=1))


def database_reason(error: BaseException) -> str:
    """What a database says, in one line."""
    if isinstance(error, StorageInternalError) and error.__cause__:  # Optuna's own words guess at the reason
        error = error.__cause__
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    return lines[0]


@contextmanager
def _holding(engine: Engine) -> Iterator[None]:
    """Holds the lock of a database's studies. The lock of a process that dies is free."""
    if engine.dialect.name == "sqlite":
        with FileLock(f"{engine.url.database}.lock"):
            yield
    else:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what Optuna says of its heartbeat: that it may change, and that another loop than ours is usual."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        yield


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Names what differs between two identities, without the passwords of addresses."""
    before, now = set(old["overrides"]), set(new["overrides"])
    parts = [
        f"{where} {', '.join(map(_public, sorted(settings)))}"
        for where, settings in (("there", before - now), ("here", now - before))
        if settings
    ]
    searched = sorted(
        name for name in {*old["search"], *new["search"]} if old["search"].get(name) != new["search"].get(name)
    )
    return "; ".join([*parts, *([f"search: {', '.join(searched)}"] if searched else [])])


def _public(setting: str) -> str:
    name, _, value = setting.partition("=")
    return f"{name}={public_address(value.strip(QUOTES))}"
