"""Before several workers train together they meet: all are there, and all would train the same.

TensorFlow itself waits for a missing worker for an hour, and cannot be interrupted then. Workers of different
parameters or features would train something that nobody asked for.
"""

import json
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Self

from kws.core.errors import UserError

WORKERS, WORKER = "KWS_TRAIN_WORKERS", "KWS_TRAIN_WORKER"  # environment variables
WAIT_SECONDS = 300.0  # for the others
ANSWER_SECONDS = 10.0  # for a message of a worker that is there
LONGEST_MESSAGE = 2**20  # bytes


@dataclass(frozen=True)
class Place:
    """Which of the workers this process is.

    Attributes:
        addresses: `host:port` of each worker; the first is the chief.
        number: of this worker, from 0.
    """

    addresses: tuple[str, ...]
    number: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """The place that the environment says; None: this process trains alone.

        Raises:
            UserError: the environment is wrong.
        """
        listed, number = environment.get(WORKERS, "").strip(), environment.get(WORKER, "").strip()
        if not listed and not number:
            return None
        if not listed or not number:
            raise UserError(f"{WORKER if listed else WORKERS} is not set: set both {WORKERS} and {WORKER}, or neither")
        addresses = tuple(address.strip() for address in listed.split(","))
        for address in addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
                raise UserError(f"{WORKERS}: {address!r} is no host:port: give host:port,host:port,…, the chief first")
        if len(set(addresses)) < len(addresses):
            raise UserError(f"{WORKERS}: an address stands there twice: {listed}")
        if not number.isdecimal() or int(number) >= len(addresses):
            allowed = f"0 to {len(addresses) - 1}" if len(addresses) > 1 else "0"
            raise UserError(f"{WORKER} is {number}: it must be {allowed}, since {WORKERS} has {len(addresses)} workers")
        return cls(addresses, int(number))

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes what comes of the training."""
        return self.number == 0

    def name(self, number: int) -> str:
        """What to call a worker in a message."""
        return f"worker {number} ({self.addresses[number]})"


def meet(place: Place, described: Mapping[str, str], wait: float = WAIT_SECONDS) -> None:
    """Returns when all workers are there, and would train the same.

    The chief listens at its address; each other worker tells it what it would train, and hears whether all may begin.

    Args:
        place: which worker this is.
        described: what this worker would train, by name; equal on all workers.
        wait: how long to wait for the others, in seconds.

    Raises:
        UserError: an address cannot be used, a worker does not come in time, or would train something else.
    """
    deadline = time.monotonic() + wait
    with _listen(place) as listener:
        if place.is_chief:
            _gather(place, described, listener, deadline, wait)
        else:
            _report(place, described, deadline, wait)


def _listen(place: Place) -> socket.socket:
    """A socket that listens at the address of this worker."""
    host, port = _host_and_port(place.addresses[place.number])
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{place.name(place.number)} cannot listen at its address ({reason}): give one of this machine, with a "
            f"port that no other program uses"
        ) from None


def _gather(place: Place, described: Mapping[str, str], listener: socket.socket, deadline: float, wait: float) -> None:
    """The chief's part: waits for all, compares, and tells all of them the same."""
    there: dict[int, socket.socket] = {}
    asked: list[socket.socket] = []
    problem = ""
    with ExitStack() as connections:
        while not problem:
            there = {number: each for number, each in there.items() if not _has_ended(each)}  # it may come back
            awaited = [number for number in range(1, len(place.addresses)) if number not in there]
            if not awaited:
                break
            try:
                listener.settimeout(max(0.01, deadline - time.monotonic()))
                connection = connections.enter_context(listener.accept()[0])
            except TimeoutError:
                missing = ", ".join(map(place.name, awaited))
                problem = f"{missing} did not come in {wait:g} s: start all workers"
                break
            message = _receive(connection)
            number = message.get("number")
            if not isinstance(number, int) or not 0 < number < len(place.addresses):
                continue  # whoever that is: no worker of this training
            asked.append(connection)
            if number in there and not _has_ended(there[number]):
                problem = f"two workers say that they are {place.name(number)}: give each its own {WORKER}"
            elif differ := _differ(place, described, message):
                problem = f"{place.name(number)} and worker 0 differ in {differ}: give all workers the same"
            there[number] = connection
        for connection in asked:
            _send(connection, {"problem": problem})
    if problem:
        raise UserError(problem)


def _has_ended(connection: socket.socket) -> bool:
    """Whether the worker at the other end is gone."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(ANSWER_SECONDS)


def _differ(place: Place, described: Mapping[str, str], message: Mapping[str, Any]) -> str:
    """The names of what differs between a worker and the chief; empty: nothing."""
    ours = {WORKERS: list(place.addresses), **described}
    theirs = {WORKERS: message.get("addresses"), **message.get("described", {})}
    return ", ".join(name for name, value in ours.items() if theirs.get(name) != value)


def _report(place: Place, described: Mapping[str, str], deadline: float, wait: float) -> None:
    """The part of a worker that is not the chief: reaches the chief, and waits until all may begin.

    A chief that does not answer has ended and may come back, or has not yet noticed that an earlier training lost this
    worker: TensorFlow listens at its address then. So it is asked again.
    """
    message = {"number": place.number, "addresses": place.addresses, "described": dict(described)}
    while True:
        reason: object = "it did not answer"
        try:
            with socket.create_connection(_host_and_port(place.addresses[0]), timeout=ANSWER_SECONDS) as connection:
                _send(connection, message)
                answer = _receive(connection, max(ANSWER_SECONDS, deadline - time.monotonic() + ANSWER_SECONDS))
        except (OSError, UnicodeError) as error:
            answer, reason = {}, error
        if answer.get("problem"):
            raise UserError(answer["problem"])
        if "problem" in answer:
            return
        if time.monotonic() > deadline:
            raise UserError(f"{place.name(0)} cannot be reached in {wait:g} s ({reason}): start it, too")
        time.sleep(min(1.0, wait / 10))


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    with suppress(OSError):  # it has ended: whoever waits for it finds out
        connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket, wait: float = ANSWER_SECONDS) -> dict[str, Any]:
    """A message; empty: none came that can be understood."""
    connection.settimeout(wait)
    try:
        with connection.makefile("rb") as lines:
            message = json.loads(lines.readline(LONGEST_MESSAGE))
    except (OSError, ValueError):
        return {}
    return message if isinstance(message, dict) else {}
