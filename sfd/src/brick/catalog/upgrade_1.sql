-- From version 1 to 2: writers in a table of their own. Lines of history stay as they are.
ALTER TABLE history ADD COLUMN others INTEGER NOT NULL DEFAULT 0;
CREATE TABLE writer (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    record TEXT NOT NULL,
    last   INTEGER NOT NULL
) STRICT;
PRAGMA user_version = 2;
