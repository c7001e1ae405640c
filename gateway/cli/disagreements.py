"""Lines of ``gateway status`` about objects that contradict each other about whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.archive.conflicts import REMEDY

# Whoever has more of them has another problem.
MOST_CONFLICTS = 5


def disagreements(conflicts: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each contradiction about whose some objects are."""
    for conflict in conflicts[:MOST_CONFLICTS]:
        said = ", ".join(_patient(version) for version in conflict["versions"])
        studies = conflict["studies"]
        more = f" and {len(studies) - 1} more" if len(studies) > 1 else ""
        yield f"conflict: {conflict['reason']}: {said} (study {studies[0]}{more})"
    if len(conflicts) > MOST_CONFLICTS:
        yield f"conflict: {len(conflicts) - MOST_CONFLICTS} more, all of them with --json"
    if conflicts:
        yield f"  {REMEDY}"


def _patient(version: dict[str, str]) -> str:
    number = "/".join(filter(None, (version["id"], version["issuer"])))
    named = " ".join(filter(None, (version["name"] or "no name", f"({number})" if number else "")))
    return " ".join(filter(None, (named, f"born {version['birth_date']}" if version["birth_date"] else "")))
