-- From version 3 to 4: what changes mean.
ALTER TABLE history ADD COLUMN meaning TEXT NOT NULL DEFAULT '[]';
ALTER TABLE history ADD COLUMN reasons TEXT NOT NULL DEFAULT '[]';
PRAGMA user_version = 4;
