"""DICOM edge gateway: classic series in, enhanced multi-frame objects out."""
