"""The standard as data: tables, each with its section."""
