"""Converts a folder with highdicom: ``python -m tests.bench.with_highdicom FOLDER OUTPUT``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import dcmread
from pydicom.uid import generate_uid


def main(folder: Path, output: Path) -> None:
    """Read, convert, write."""
    warnings.simplefilter("ignore")
    image = LegacyConvertedEnhancedCTImage(
        [dcmread(path) for path in sorted(folder.iterdir())],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )
    image.save_as(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
