"""What transfer syntaxes do to pixels: Lossy Image Compression Method (PS3.3 C.7.6.1.1.5.1), and which do nothing."""

from __future__ import annotations

LOSSY_METHODS: dict[str, str] = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",  # JPEG Extended
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",  # JPEG 2000
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",  # High-Throughput JPEG 2000
}

# Transfer syntaxes whose pixels are, by definition, exactly those that were compressed: nothing is lost by decoding.
LOSSLESS: frozenset[str] = frozenset(
    (
        "1.2.840.10008.1.2.5",  # RLE
        "1.2.840.10008.1.2.4.57",  # JPEG Lossless
        "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
        "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless Only
        "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 Lossless Only
        "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 with RPCL Options Lossless Only
    )
)

# Syntaxes in which something may have been lost, of which every decoder makes the same samples all the same: always
# (JPEG-LS, ISO/IEC 14495-1), or if the reversible transform was used (JPEG 2000, ISO/IEC 15444-1). What decoders make
# of the discrete cosine transform and of the irreversible wavelet differs in the last bit.
EXACT: frozenset[str] = frozenset(
    (
        "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
        "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    )
)
