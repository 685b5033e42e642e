-- From version 2 to 3: regions, and earlier contents. What is not known of the past stays unknown.
CREATE TABLE region (
    artifact INTEGER PRIMARY KEY,
    regions  TEXT NOT NULL
) STRICT;
CREATE TABLE version (
    line     INTEGER PRIMARY KEY,
    artifact INTEGER NOT NULL,
    before   BLOB,
    after    BLOB,
    bytes    INTEGER NOT NULL,
    missing  TEXT,
    contents BLOB
) STRICT;
CREATE INDEX version_artifact ON version(artifact, line);
CREATE INDEX version_kept ON version(artifact, line) WHERE bytes > 0;
PRAGMA user_version = 3;
