"""Errors that name the object, the value found, what was expected and the remedy."""

from __future__ import annotations

import errno

# What can be done about an error of the operating system.
_REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "run it as the user of the gateway, or as root"),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP), "check the path"
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM), "give the machine less to do"),
}


def remedy_of(error: OSError) -> str:
    """Return what can be done about an error of the operating system."""
    return _REMEDIES.get(error.errno or 0, "free or replace the disk")


class GatewayError(Exception):
    """Base of every error the gateway raises on purpose.

    Parameters
    ----------
    subject : str
        The object the error is about (a file, an attribute, a peer).
    problem : str
        What is wrong with it, in plain words.
    found, expected, remedy : str, optional
        The value found, the value expected and what the reader can do.
    """

    def __init__(
        self,
        subject: str,
        problem: str,
        *,
        found: object = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.subject = subject
        self.problem = problem
        self.found = found
        self.expected = expected
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        """Return the error as one line."""
        text = f"{self.subject}: {self.problem}"
        if self.found is not None:
            text += f"; found {self.found!r}"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.remedy is not None:
            text += f"; {self.remedy}"
        return text


class ConfigError(GatewayError):
    """The configuration cannot be used."""


class ObjectError(GatewayError):
    """Bytes that are no usable DICOM object (C-STORE status C000)."""


class MismatchError(ObjectError):
    """The data set contradicts the request it came with (C-STORE status A900)."""


class DamagedError(ObjectError):
    """A copy on the disk is not what was stored: other bytes, fewer, or none that can be read."""


class ResourceError(GatewayError):
    """Disk, memory or another resource is short (C-STORE status A700)."""


class ConversionError(GatewayError):
    """A conversion could not be made or could not be proved."""


class ArchiveError(GatewayError):
    """Files and index of the data directory cannot be used."""


class NetworkError(GatewayError):
    """A peer could not be reached, refused, or broke off."""


class Rejected(NetworkError):
    """A peer rejected the association (PS3.8 9.3.4).

    Attributes
    ----------
    lasting : bool
        It will do so again until somebody changes its settings or ours.
    """

    lasting = False


class Unanswered(NetworkError):
    """A peer took a request and did not answer it in time; it may have done what was asked, and answer too late."""


class BrokenOff(NetworkError):
    """A peer ended the association, or broke its rules, instead of answering a request."""
