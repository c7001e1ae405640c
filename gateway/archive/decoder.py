"""A process of its own that decodes pixels for this one, started when there is something to decode.

Decoders are C libraries that meet bytes from strangers: what they do to memory, or to themselves, must not happen in a
process that serves associations. They also need numpy, which would double what each of those processes takes. One
process decodes any number of instances one after the other, since to start it takes longer than to decode most; what it
does is in `gateway.archive.decoding`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gateway.errors import ObjectError, ResourceError
from gateway.standard.compression import EXACT, LOSSLESS

# Seconds; decoding 2 GiB of JPEG 2000 on a small box takes minutes.
LONGEST = 900.0

# Seconds between two looks whether it shall go on at all.
_LOOK = 1.0

_LONGEST_ANSWER = 4096

# For each transfer syntax who decodes it, the first one that is installed, as pydicom calls it, with the modules it
# needs. Not whoever happens to be there: the samples that leave do not depend on it.
_RLE = (("pylibjpeg", ("pylibjpeg", "rle")), ("pydicom", ()))
_JPEG = (("gdcm", ("gdcm",)),)
_JPEG_LS = (("pyjpegls", ("jpeg_ls",)), ("gdcm", ("gdcm",)))
_JPEG_2000 = (("pylibjpeg", ("pylibjpeg", "openjpeg")), ("gdcm", ("gdcm",)))
_HTJ2K = (("pylibjpeg", ("pylibjpeg", "openjpeg")),)
_DECODERS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "1.2.840.10008.1.2.5": _RLE,
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": _JPEG,
    "1.2.840.10008.1.2.4.70": _JPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _HTJ2K,
    "1.2.840.10008.1.2.4.202": _HTJ2K,
    "1.2.840.10008.1.2.4.203": _HTJ2K,
}


@functools.cache
def plugin(transfer_syntax: str) -> str:
    """Return the name of the decoder of a transfer syntax, empty if none is installed."""
    ways = _DECODERS.get(transfer_syntax, ()) if _installed("numpy") else ()
    return next((name for name, modules in ways if all(map(_installed, modules))), "")


def _installed(module: str) -> bool:
    # Also where the module is hidden from this process, which does not decode.
    return importlib.machinery.PathFinder.find_spec(module) is not None


@functools.cache
def decodable(transfer_syntax: str) -> bool:
    """Tell whether pixels can be decoded to what every decoder makes of them, with what is installed."""
    return transfer_syntax in LOSSLESS | EXACT and plugin(transfer_syntax) != ""


class Decoder:
    """Whoever lets pixels be decoded. One job at a time; not for several threads.

    Parameters
    ----------
    watch : callable
        Called about once a second while something is decoded; what it raises ends the process and comes through.
    longest : float
        Seconds that one job may take.
    """

    def __init__(self, watch: Callable[[], None] = lambda: None, longest: float = LONGEST) -> None:
        self._watch = watch
        self._longest = longest
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ask(self, job: str, subject: str, *descriptors: int) -> str:
        """Let a job be done and return what comes of it.

        Parameters
        ----------
        job : str
            A key of `gateway.archive.decoding.JOBS`.
        subject : str
            What an error is about.
        *descriptors : int
            Open files. Not names: a checkpoint may move a file meanwhile.

        Raises
        ------
        ObjectError
            If it cannot be done; the next job is none the worse for it.
        ResourceError
            If there is no memory or no room on the disk for it.
        """
        try:
            channel = self._ready()
            socket.send_fds(channel, [job.encode()], descriptors)
            answer = self._answer(channel, subject)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            raise ObjectError(subject, "cannot be decoded", found=f"status {self._status()}") from None
        except BaseException:
            self.close()
            raise
        if answer.startswith("!"):
            raise ResourceError(subject, "cannot be decoded now", found=answer[1:])
        if not answer.startswith("+"):
            raise ObjectError(subject, "cannot be decoded", found=answer[1:])
        return answer[1:]

    def _ready(self) -> socket.socket:
        """Return the way to a process that lives."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._channel is None:
            # Each message arrives whole, and the end of one side is seen by the other.
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "gateway.archive.decoding"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        return self._channel

    def _answer(self, channel: socket.socket, subject: str) -> str:
        deadline = time.monotonic() + self._longest
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(min(left, _LOOK) * 1000):
                if answer := channel.recv(_LONGEST_ANSWER):
                    return answer.decode("utf-8", "replace")
                raise EOFError
            self._watch()
        raise ObjectError(subject, "takes too long to decode", expected=f"at most {self._longest:g} s")

    def _status(self) -> int | None:
        """Return what a process that has crashed says about it."""
        status = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(_LOOK)
        self.close()
        return status

    def close(self) -> None:
        """End the process, whatever it is doing; it is started again when it is needed."""
        process, channel, self._process, self._channel = self._process, self._channel, None, None
        if channel is not None:
            channel.close()
        if process is not None:
            process.kill()
            process.wait()


def same_decoded(one: Path, other: Path) -> bool:
    """Tell whether the decoded frames of two files are equal.

    Raises
    ------
    ObjectError
        If that cannot be found out: there is no decoder, or pixel data are broken.
    """
    with open(one, "rb") as first, open(other, "rb") as second, Decoder() as decoder:
        return decoder.ask("same", other.name, first.fileno(), second.fileno()) == "equal"
