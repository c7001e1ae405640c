"""Real series that lie beside the project: where they are, and which test is skipped for want of which of them."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "../shared/data"

# The sets that tests are written for: where one is missing, its tests are skipped and say so; they do not vanish.
NAMES = (
    "ct_ge_tilt28",
    "ct_philips28_localizer",
    "ct_transfer_syntaxes",
    "dcmqi_ct_lce_seg",
    "dicom2nifti_vendors",
    "ge_dynamic",
    "highdicom_refs",
    "lce_mr_seg_ibsi",
    "mr_ge_fmri150",
    "pet_ge_crop",
    "philips_dynamic",
    "philips_pair_asl1901",
    "philips_pcasl_gsps",
    "pydicom_data",
    "rtutils_ct_rtstruct",
    "siemens_9_syntaxes",
    "siemens_dualecho",
)


def names() -> list[str]:
    """All sets: those that tests are written for, and whatever else is there."""
    there = {path.name for path in DATA.iterdir() if path.is_dir()} if DATA.is_dir() else set()
    return sorted(there | set(NAMES))


def need_set(name: str) -> Path:
    """Return the folder of a set, or skip the test that needs it."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the real series {name} are not beside the project (../shared/data)")
    return folder


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no real series are beside the project (../shared/data)")
