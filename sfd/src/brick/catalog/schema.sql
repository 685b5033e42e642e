-- The catalog of one live brick. `PRAGMA user_version` is the version of this schema.
-- Unsigned 64-bit numbers (dev, ino, rdev, size, nlink, len) are stored in SQLite's signed ones, bit for bit.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL          -- order, cap: integers; root_path, redaction (digest of the rules in force): blobs;
                                -- search_purge: words of something secret may be in `search`
) STRICT, WITHOUT ROWID;

CREATE TABLE artifact (
    id           INTEGER PRIMARY KEY,
    parent       INTEGER,       -- NULL: a root, whose name is its whole path
    name         BLOB NOT NULL, -- raw bytes
    file_type    TEXT NOT NULL,
    mode         INTEGER NOT NULL,
    uid          INTEGER NOT NULL,
    gid          INTEGER NOT NULL,
    size         INTEGER NOT NULL,
    mtime_ns     INTEGER NOT NULL,
    ctime_ns     INTEGER NOT NULL,
    dev          INTEGER NOT NULL,
    ino          INTEGER NOT NULL,
    nlink        INTEGER NOT NULL,
    rdev         INTEGER NOT NULL,
    sb_dev       INTEGER NOT NULL,
    start        INTEGER NOT NULL, -- first cell of its block
    k            INTEGER NOT NULL, -- the block has 2^k cells
    len          INTEGER NOT NULL, -- bytes of contents
    content_hash BLOB NOT NULL,    -- BLAKE3, keyed when redacted
    exact        INTEGER NOT NULL,
    redacted     INTEGER NOT NULL,
    unverified   TEXT,             -- NULL: verified; else why not
    kind         TEXT NOT NULL,    -- kind, risk, summary: copies from semantics, to be read and queried by people
    risk         INTEGER NOT NULL,
    summary      TEXT NOT NULL,
    semantics    TEXT NOT NULL     -- JSON
) STRICT;
CREATE INDEX artifact_start ON artifact(start);

-- Hashes of the Merkle leaves that are not empty.
CREATE TABLE leaf (
    idx  INTEGER PRIMARY KEY,      -- cells idx*4096 .. idx*4096 + 4096
    hash BLOB NOT NULL             -- SHA-256 over RGBA in curve order
) STRICT;

-- Blocks that a commit is writing right now. Not empty after a crash.
CREATE TABLE mark (
    start INTEGER NOT NULL,
    k     INTEGER NOT NULL,
    PRIMARY KEY (start, k)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    id        INTEGER PRIMARY KEY,
    at_ns     INTEGER NOT NULL,    -- since the Unix epoch
    path      BLOB NOT NULL,
    from_path BLOB,                -- for `renamed`
    verb      TEXT NOT NULL,
    detail    TEXT NOT NULL,
    writers   TEXT NOT NULL,       -- JSON array: numbers of writers; in rows of version 1 the writers themselves
    kind      TEXT NOT NULL,
    risk      INTEGER NOT NULL,
    others    INTEGER NOT NULL DEFAULT 0, -- 1: more writers than are named; 2: unknown ones; 3: both
    meaning   TEXT NOT NULL DEFAULT '[]', -- JSON array: what the change means, a line each
    reasons   TEXT NOT NULL DEFAULT '[]'  -- JSON array: why to care about the change
) STRICT;
CREATE INDEX history_at ON history(at_ns);
CREATE INDEX history_path ON history(path);
CREATE INDEX history_from ON history(from_path) WHERE from_path IS NOT NULL;

-- Who is named in history: one process makes many changes, and there is much to be said of it.
CREATE TABLE writer (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,   -- BLAKE3 of the record, 16 bytes
    record TEXT NOT NULL,          -- JSON
    last   INTEGER NOT NULL        -- newest line of history that names it
) STRICT;

-- Named parts of artifacts whose cells are their very bytes: sections of ELF files.
CREATE TABLE region (
    artifact INTEGER PRIMARY KEY,
    regions  TEXT NOT NULL         -- JSON: {"regions": [{"name", "start", "len", "type"}], "regions_note"}
) STRICT;

-- What contents were before a change, one row for each line of history that tells of changed contents.
CREATE TABLE version (
    line     INTEGER PRIMARY KEY,  -- of history
    artifact INTEGER NOT NULL,
    before   BLOB,                 -- content_hash before the change; NULL: it was not there
    after    BLOB,                 -- and after it; NULL: it is gone
    bytes    INTEGER NOT NULL,     -- of contents as stored; 0: not kept
    missing  TEXT,                 -- why not
    contents BLOB                  -- before the change: a zstd frame
) STRICT;
CREATE INDEX version_artifact ON version(artifact, line);
CREATE INDEX version_kept ON version(artifact, line) WHERE bytes > 0;

-- The words of each artifact, for `sfd search`; rowid is its number. Holds no text, only where which word is.
CREATE VIRTUAL TABLE search USING fts5(
    name, title, summary, tags, kind, reasons,
    content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
-- Artifacts whose words in `search` are not (any more) theirs: those are looked for in their rows. Filled in the
-- transaction that changes a row, emptied when there is nothing else to do.
-- (No OR IGNORE in the triggers: an upsert that fires one overrides it.)
CREATE TABLE unindexed (id INTEGER PRIMARY KEY) STRICT;
CREATE TRIGGER artifact_new AFTER INSERT ON artifact
WHEN NOT EXISTS (SELECT 1 FROM unindexed WHERE id = new.id) BEGIN
    INSERT INTO unindexed VALUES (new.id);
END;
CREATE TRIGGER artifact_other AFTER UPDATE OF name, semantics ON artifact
WHEN (old.name IS NOT new.name OR old.semantics IS NOT new.semantics)
    AND NOT EXISTS (SELECT 1 FROM unindexed WHERE id = new.id) BEGIN
    INSERT INTO unindexed VALUES (new.id);
END;
CREATE TRIGGER artifact_gone AFTER DELETE ON artifact
WHEN NOT EXISTS (SELECT 1 FROM unindexed WHERE id = old.id) BEGIN
    INSERT INTO unindexed VALUES (old.id);
END;

-- For people: every artifact with its whole path.
CREATE VIEW artifact_path AS
WITH RECURSIVE tree(id, path) AS (
    SELECT id, CAST(name AS TEXT) FROM artifact WHERE parent IS NULL
    UNION ALL
    SELECT artifact.id, rtrim(tree.path, '/') || '/' || CAST(artifact.name AS TEXT)
    FROM artifact JOIN tree ON artifact.parent = tree.id
)
SELECT tree.path, artifact.* FROM tree JOIN artifact USING (id);
