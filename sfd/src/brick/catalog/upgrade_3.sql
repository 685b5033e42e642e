-- From version 3 to 4: what changes mean, and the words of artifacts.
ALTER TABLE history ADD COLUMN meaning TEXT NOT NULL DEFAULT '[]';
ALTER TABLE history ADD COLUMN reasons TEXT NOT NULL DEFAULT '[]';
CREATE VIRTUAL TABLE search USING fts5(
    name, title, summary, tags, kind, reasons,
    content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
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
INSERT INTO unindexed SELECT id FROM artifact;
PRAGMA user_version = 4;
