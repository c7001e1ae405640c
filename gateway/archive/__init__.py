"""Files on disk, the SQLite index, views, jobs and custody."""
