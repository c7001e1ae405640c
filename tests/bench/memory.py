"""Memory of the whole box: proportional set sizes of all its processes, idle and at work."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import peers
from tests.bench.link import slow_link
from tests.bench.material import make, origin, size_of
from tests.bench.programs import BenchError, Server, mapped_files_mb, name_of, pss_mb, wait_until
from tests.bench.report import OURS, Measure, Table

IDLE_AIM_MB = 60
PEAK_AIM_MB = 140
INTERVAL = 0.1
SETTLE_SECONDS = 3.0
QUIET_SECONDS = 2.0
PHASES = ("receiving", "waiting", "converting", "delivering")
ALL_AT_ONCE = "all at once"
AT_ONCE_TITLE = "Memory with intake, conversion and delivery at once"


@dataclass
class Sampler:
    """Samples a box from a thread.

    Attributes
    ----------
    phase : str
        What the box is doing.
    peaks : Counter
        Largest sum in MB by phase.
    shares : Counter
        Who had how much when the sum was largest.
    """

    box: Server
    phase: str = PHASES[0]
    peaks: Counter[str] = field(default_factory=Counter)
    shares: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            phase, found = self.phase, shares_of(self.box)
            self.shares = max(self.shares, found, key=Counter.total)
            self.peaks[phase] = max(self.peaks[phase], found.total())


def shares_of(box: Server) -> Counter[str]:
    """Return the memory of each process of a box in MB, files apart, by name; two of a name are counted together."""
    found: Counter[str] = Counter()
    for pid in box.pids:
        found[name_of(pid).removeprefix("gateway-")] += pss_mb(pid, "Pss_Anon")  # type: ignore[assignment]
    return found


def measure(work: Path, runs: int, counts: tuple[int, ...]) -> list[Table]:
    """Let more and more slices come in, be converted and delivered to a DCMTK storescp."""
    measures = (
        Measure("idle PSS MB"),
        Measure("idle MB", aim=IDLE_AIM_MB),
        Measure("peak MB", aim=PEAK_AIM_MB),
        *(Measure(f"{phase} MB") for phase in PHASES),
        Measure("after MB"),
    )
    sizes = Table("Memory of the whole box (PSS of all processes)", measures)
    times = Table(
        "Time from the first slice to the last byte at the PACS",
        (Measure("receive s"), Measure("wait s"), Measure("convert s"), Measure("deliver s"), Measure("slices/s in")),
    )
    for count in counts:
        material = make(work / f"slices-{count}", count)
        for number in range(runs):
            _one(work / f"{count}-{number}", material, count, sizes, times)
    sizes.notes += [
        f"512 x 512, made from {origin()}; sampled every {INTERVAL:g} s; sender DCMTK storescu, PACS DCMTK storescp",
        "idle PSS is the plain sum, smaller while other programs map the same libraries, as this one does; all other "
        "figures count each mapped file once and in full, as if the box were alone on the machine",
        f"idle after {SETTLE_SECONDS:g} s; a study counts as complete after {QUIET_SECONDS:g} s",
    ]
    sizes.notes += _growth(sizes, counts)
    return [sizes, times]


def at_once(work: Path, runs: int, count: int) -> list[Table]:
    """Let a study of `count` slices be converted while another is delivered over a slow line and a third comes in."""
    table = Table(
        f"{AT_ONCE_TITLE}: {count} CT slices",
        (Measure("idle MB", aim=IDLE_AIM_MB), Measure("peak MB", aim=PEAK_AIM_MB), Measure("converting s")),
    )
    materials = [make(work / name, slices) for name, slices in (("first", count // 3), ("large", count), ("last", 100))]
    for number in range(runs):
        _all_at_once(work / str(number), materials, table, number)
    table.notes += [
        f"512 x 512, made from {origin()}; PSS of all processes, sampled every {INTERVAL:g} s while the large study is "
        f"converted, one of {count // 3} slices delivered and one of 100 slices sent again and again; each mapped file "
        "counts once and in full",
    ]
    return [table]


def _all_at_once(work: Path, materials: list[Path], table: Table, number: int) -> None:
    first, large, last = materials
    seconds = 30 + len(list(large.iterdir())) / 10  # that the delivery of the first study would last
    with (
        peers.storescp(work / "pacs", "+xa", "-pm") as pacs,
        slow_link(work / "link", pacs.port, 0, size_of(first) * 8 / seconds / 1e6) as link,
        peers.box(work / "box", destination_port=link.port, quiet=QUIET_SECONDS) as box,
    ):
        time.sleep(SETTLE_SECONDS)
        idle, files = shares_of(box), mapped_files_mb(box.pids)
        peers.send_with_gateway(box.port, first)
        peers.send_with_gateway(box.port, large)
        sent = time.monotonic()
        done = f" convert.done study={peers.value_of(next(large.iterdir()), 'StudyInstanceUID')} "
        with Sampler(box, ALL_AT_ONCE) as sampler:
            while done not in box.text():
                peers.send_with_gateway(box.port, last)
        converting = time.monotonic() - sent - QUIET_SECONDS
        if " deliver.decided " not in box.text() or " deliver.done " in box.text():
            raise BenchError("the first study was not being delivered while the large one was converted")
        peak = sampler.peaks[ALL_AT_ONCE] + mapped_files_mb(box.pids)
    table.add(OURS, idle.total() + files, peak, converting)
    table.notes.append(f"run {number + 1}: idle {_listing(idle)}, files {files:.0f}; peak {_listing(sampler.shares)}")


def _growth(sizes: Table, counts: tuple[int, ...]) -> list[str]:
    """Say what each further slice costs; nothing should."""
    few, many = (
        {name: max(values) for name, values in sizes.rows[_subject(count)].items()}
        for count in (min(counts), max(counts))
    )
    slices = max(counts) - min(counts)
    return [
        f"each slice more adds {(many[name] - few[name]) * 1024 / slices:.1f} KB to '{name}'"
        for name in ("idle MB", "receiving MB", "peak MB")
    ]


def _subject(count: int) -> str:
    return f"{OURS}, {count} slices"


def _one(work: Path, material: Path, count: int, sizes: Table, times: Table) -> None:
    """Run one box from start to stop."""
    subject = _subject(count)
    with (
        peers.storescp(work / "pacs", "+xa", "-pm") as pacs,
        peers.box(work / "box", destination_port=pacs.port, quiet=QUIET_SECONDS) as box,
    ):
        time.sleep(SETTLE_SECONDS)
        plain = sum(map(pss_mb, box.pids))
        idle, idle_files = shares_of(box), mapped_files_mb(box.pids)
        limit = 60 + count / 10
        marks = [time.monotonic()]
        with Sampler(box) as sampler:
            received = peers.send_with_storescu(box.port, material)
            marks.append(time.monotonic())
            sampler.phase = "waiting"
            # The log has no line for the begin of a conversion; the quiet period has a known length.
            time.sleep(QUIET_SECONDS)
            marks.append(time.monotonic())
            for phase, mark in (("converting", " convert.done "), ("delivering", " deliver.done ")):
                sampler.phase = phase
                wait_until(lambda mark=mark: mark in box.text(), limit, f"{mark.strip()} for {subject}")
                marks.append(time.monotonic())
        after, files = shares_of(box).total(), mapped_files_mb(box.pids)
        _check(pacs, count)
    work_sizes = [*(sampler.peaks[phase] for phase in PHASES), after]
    sizes.add(subject, plain, idle.total() + idle_files, *(size + files for size in (max(work_sizes), *work_sizes)))
    times.add(subject, *(later - earlier for earlier, later in itertools.pairwise(marks)), count / received)
    sizes.notes.append(
        f"{subject}: idle {_listing(idle)}, files {idle_files:.0f}; peak {_listing(sampler.shares)}, files {files:.0f}"
    )


def _listing(shares: Counter[str]) -> str:
    return ", ".join(f"{name} {size:.0f}" for name, size in sorted(shares.items()))


def _check(pacs: Server, count: int) -> None:
    """Make sure that the PACS has the enhanced object and nothing else."""
    sizes = [path.stat().st_size for path in (pacs.folder / "received").iterdir()]
    if len(sizes) != 1 or sizes[0] < count * 512 * 512 * 2:
        raise BenchError(f"the PACS has no single object with {count} frames: {len(sizes)} files")
