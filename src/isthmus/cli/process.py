"""What a command is to the system: its streams, the signals that stop it, its exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any

from isthmus.errors import IsthmusError
from isthmus.report.plain import visible

INTERRUPTED = 128 + signal.SIGINT
NOTHING_LEFT = "nothing half-written is left behind"


class Stopped(SystemExit):
    """A signal asked the process to end; the exit code is that of a process that it ended."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


class _Forgiving(io.FileIO):
    """A stream that nobody may want, or that may be full: the command goes on to its exit code."""

    full: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            self.full = error
            return len(data)


def own_streams() -> None:
    """Standard streams that are there, and that are no error once nobody reads them."""
    while (handle := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # a stream was closed: no file of ours may take its number
    os.close(handle)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(_raw(stream), io.FileIO) and stream.fileno() in (1, 2):
            setattr(sys, name, _forgiving(stream))


def _raw(stream: Any) -> Any:
    """What a stream writes to; the buffer itself where Python runs without one (``-u``)."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _forgiving(stream: Any) -> IO[str]:
    stream.flush()
    raw = _Forgiving(stream.fileno(), "w", closefd=False)
    unbuffered = isinstance(stream.buffer, io.RawIOBase)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        write_through=unbuffered,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """TERM and HUP end the body as an error does, so that it cleans up; ``nohup`` is respected."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # once: the clean-up is not to be stopped
        raise Stopped(number)

    found = {name: getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")}
    taken = [n for n in found.values() if n and signal.getsignal(n) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def exit_code(command: Callable[[], Any]) -> int:
    """Run a command; whatever it refuses is one sentence on standard error. Returns its code."""
    code = _code_of(command)
    sys.stdout.flush()
    full = getattr(_raw(sys.stdout), "full", None)
    if full is not None:
        return _say(f"standard output cannot be written ({full.strerror})", code or 1)
    return code


def _code_of(command: Callable[[], Any]) -> int:
    try:
        command()
    except IsthmusError as refused:
        return _say(str(refused), 1)
    except Stopped as stopped:
        return _say(f"stopped by {stopped.signal}; {_kept(stopped)}", int(stopped.code or 1))
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _say(f"interrupted; {_kept(stop)}", INTERRUPTED)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt as interrupt:
        return _say(f"interrupted; {_kept(interrupt)}", INTERRUPTED)
    except MemoryError as lack:
        what = "memory ran out; take fewer rows at once, or a machine with more"
        return _say(f"{what}; {_kept(lack)}", 1)
    except OSError as error:
        where = f"'{os.fsdecode(error.filename)}': " if error.filename else ""
        return _say(f"{where}{error.strerror or error}; check the disk and the path", 1)
    return 0


def _kept(error: BaseException) -> str:
    """What a run that ended early keeps: its journal's note, on the error or on what it came of."""
    found: BaseException | None = error
    while found is not None:
        for note in getattr(found, "__notes__", []):
            return str(note)
        found = found.__cause__ or found.__context__
    return NOTHING_LEFT


def _say(sentence: str, code: int) -> int:
    print(f"isthmus: {visible(sentence, kept='')}", file=sys.stderr)
    return code
