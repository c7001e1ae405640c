"""Classic to enhanced multi-frame and back (PS3.4 C.3.5); useful without the rest."""
