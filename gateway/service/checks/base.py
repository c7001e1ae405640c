"""What a check is and what it says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar, NamedTuple

from gateway.service.config import Config


class Result(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """What a check says about one thing.

    Attributes
    ----------
    code : str
        Of the check; stays what it is, for programs.
    subject : str
        What was looked at, where a check looks at several things.
    result : Result
        How it came out.
    reason : str
        Why, in plain words, with the figures.
    remedy : str
        What to do about it; empty if there is nothing to do.
    """

    code: str
    subject: str
    result: Result
    reason: str
    remedy: str = ""


class Check(ABC):
    """One thing that has to be right for the box to do its work.

    Attributes
    ----------
    code : str
        Its name for programs.
    about : str
        What it looks at, for the manual.
    """

    code: ClassVar[str]
    about: ClassVar[str]

    @abstractmethod
    def look(self, config: Config) -> Iterator[Finding]:
        """Yield what is found; at least one finding."""

    def ok(self, subject: str, reason: str) -> Finding:
        """Return a finding that all is well."""
        return Finding(self.code, subject, Result.OK, reason)

    def warning(self, subject: str, reason: str, remedy: str) -> Finding:
        """Return a finding that the box can live with."""
        return Finding(self.code, subject, Result.WARNING, reason, remedy)

    def failed(self, subject: str, reason: str, remedy: str) -> Finding:
        """Return a finding that keeps the box from its work, or puts what it holds at risk."""
        return Finding(self.code, subject, Result.FAILED, reason, remedy)

    def skipped(self, subject: str, reason: str) -> Finding:
        """Return that there was nothing to look at."""
        return Finding(self.code, subject, Result.SKIPPED, reason)
