#!/usr/bin/python3 -I
"""What the appliance does at boot, beside the gateway: one word says which.

    take      take configuration, address and keys that somebody has put on the first partition of the card
    grow      let the state partition have the rest of the card
    console   say on the console how the gateway can be reached, or what it waits for

The first partition can be read and written by any computer that the card is put into. What is taken from it is renamed
to NAME.taken, so that it is taken once and what is configured later, by whatever means, stays. A configuration with an
error is renamed to NAME.refused, and NAME.why.txt says what is wrong with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

CARD = (Path("/boot/firmware"), Path("/boot/efi"))
STATE = Path("/var/lib/gateway")
CONFIG = Path("/etc/gateway/gateway.toml")
ISSUE = Path("/run/issue.d/gateway.issue")
SCRATCH = Path("/run")
GATEWAY = "/opt/gateway/current/bin/gateway"

# Name on the card, where it goes, mode, and what checks it first.
TAKEN = (
    ("gateway.toml", CONFIG, 0o644, [GATEWAY, "config", "check"]),
    ("site.network", Path("/etc/systemd/network/10-site.network"), 0o644, []),
    ("authorized_keys", Path("/root/.ssh/authorized_keys"), 0o600, []),
)


def run(*command: object) -> str:
    """Run a program and return what it says."""
    return subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755 if mode & 0o044 else 0o700)
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def take(card: Path) -> None:
    """Take each file that is there; a power cut in between takes it again."""
    for name, place, mode, check in TAKEN:
        found = card / name
        if not found.is_file():
            continue
        why = card / f"{name}.why.txt"
        # Editors of other systems write other ends of lines, and some a mark of order.
        content = found.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
        checked = SCRATCH / name
        checked.write_bytes(content)
        done = subprocess.run([*check, checked], capture_output=True, text=True, check=False) if check else None
        if done and done.returncode:
            why.write_text(done.stderr.replace(str(checked), name), encoding="utf-8")
            os.replace(found, card / f"{name}.refused")
            print(f"{name}: refused: {done.stderr.strip()}", file=sys.stderr)
        else:
            write(place, content, mode)
            why.unlink(missing_ok=True)
            os.replace(found, card / f"{name}.taken")
            print(f"{name}: taken")
        os.sync()


def grow(mounted: Path) -> None:
    """Make partition and file system as large as the card allows."""
    device = run("findmnt", "--noheadings", "--output=SOURCE", mounted)
    disk, number = run("lsblk", "--noheadings", "--output=PKNAME,PARTN", device).split()
    done = subprocess.run(["growpart", f"/dev/{disk}", number], capture_output=True, text=True, check=False)
    if done.returncode and not done.stdout.startswith("NOCHANGE"):
        sys.exit(f"{device}: cannot be made larger: {done.stdout}{done.stderr}")
    run("/usr/lib/systemd/systemd-growfs", mounted)


def console() -> None:
    """Write what stands above the prompt of the console; agetty puts the addresses in and keeps them current."""
    lines = ["", f"DICOM edge gateway {run(GATEWAY, '--version').split()[-1]}", "  addresses    \\4   \\6"]
    try:
        own = tomllib.loads(CONFIG.read_text(encoding="utf-8")).get("gateway", {})
        title, port = own.get("ae_title", "GATEWAY"), own.get("port", 11112)
        lines += [f"  AE title     {title}", f"  port         {port}"]
    except FileNotFoundError:
        lines += ["  waits for its configuration: put gateway.toml on the first partition of the card (GW-BOOT)"]
    except (OSError, ValueError) as error:
        lines += [f"  {CONFIG}: {error}"]
    write(ISSUE, "\n".join([*lines, "", ""]).encode(), 0o644)
    subprocess.run(["agetty", "--reload"], check=False)


def main() -> None:
    """Do what the word on the command line says."""
    match sys.argv[1:]:
        case ["take"]:
            for card in CARD:
                if card.is_mount():
                    take(card)
        case ["grow"]:
            grow(STATE)
        case ["console"]:
            console()
        case _:
            sys.exit((__doc__ or "").strip())


if __name__ == "__main__":
    main()
