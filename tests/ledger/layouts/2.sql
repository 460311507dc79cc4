-- The ledger of one batch. Events are facts and are never changed; items and clips are the rows folded from them.
-- Money is counted in millionths of a dollar, so that sums are exact.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL              -- JSON
) STRICT;

CREATE TABLE run (
  epoch      INTEGER PRIMARY KEY,  -- counts the processes that wrote here; a write of an older one changes nothing
  started_at TEXT NOT NULL,
  ended_at   TEXT,
  outcome    TEXT,                 -- NULL for a run that never said goodbye
  about      TEXT NOT NULL         -- JSON: pid, host, version, command
) STRICT;

CREATE TABLE move (                -- the table of legal moves, copied from the code at creation and at migration
  from_state TEXT NOT NULL,
  event      TEXT NOT NULL,
  to_state   TEXT NOT NULL,
  PRIMARY KEY (from_state, event, to_state)
) STRICT, WITHOUT ROWID;

CREATE TABLE clip_move (
  from_state TEXT NOT NULL,
  event      TEXT NOT NULL,
  to_state   TEXT NOT NULL,
  PRIMARY KEY (from_state, event, to_state)
) STRICT, WITHOUT ROWID;

CREATE TABLE copy_move (
  from_state TEXT NOT NULL,
  event      TEXT NOT NULL,
  to_state   TEXT NOT NULL,
  PRIMARY KEY (from_state, event, to_state)
) STRICT, WITHOUT ROWID;

CREATE TABLE money (
  one                 INTEGER PRIMARY KEY CHECK (one = 1),
  committed_micro_usd INTEGER NOT NULL  -- spent + reserved + in doubt, over all items; kept by the triggers below
) STRICT;

CREATE TABLE item (
  id                  TEXT NOT NULL,
  revision            INTEGER NOT NULL CHECK (revision >= 1),
  position            INTEGER NOT NULL,  -- order in the manifest
  state               TEXT NOT NULL,
  event               TEXT NOT NULL,     -- the last event; with the state it names the move
  attempt             INTEGER NOT NULL,
  moves               INTEGER NOT NULL,  -- how many events made the row; a write names the count it believes in
  epoch               INTEGER NOT NULL,
  provider            TEXT NOT NULL,
  model               TEXT NOT NULL,
  job_id              TEXT,              -- the vendor's id of the present attempt
  committed_micro_usd INTEGER NOT NULL CHECK (committed_micro_usd >= 0),
  request             TEXT NOT NULL,     -- JSON, written once a fingerprint
  record              TEXT NOT NULL,     -- JSON, everything else of the job but its clips
  PRIMARY KEY (id, revision)
) STRICT;

CREATE UNIQUE INDEX item_by_job ON item (provider, job_id) WHERE job_id IS NOT NULL;
CREATE INDEX item_by_state ON item (state, position);

CREATE TABLE clip (
  item_id    TEXT NOT NULL,
  revision   INTEGER NOT NULL,
  idx        INTEGER NOT NULL,
  state      TEXT NOT NULL,
  event      TEXT NOT NULL,
  part       TEXT NOT NULL,
  file       TEXT NOT NULL,
  sha256     TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  facts      TEXT NOT NULL,              -- JSON
  warnings   TEXT NOT NULL,              -- JSON
  copy       TEXT NOT NULL DEFAULT 'none',  -- the state of its second copy, in an object store
  remote     TEXT NOT NULL DEFAULT '{}',    -- JSON: where that is
  PRIMARY KEY (item_id, revision, idx),
  FOREIGN KEY (item_id, revision) REFERENCES item (id, revision) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Only of names that are borne: a stored clip may still want a name that it will find taken.
CREATE UNIQUE INDEX clip_by_file ON clip (file) WHERE state = 'done';

CREATE TABLE event (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  at       TEXT NOT NULL,
  epoch    INTEGER NOT NULL,
  item_id  TEXT NOT NULL,
  revision INTEGER NOT NULL,
  kind     TEXT NOT NULL,
  data     TEXT NOT NULL                 -- JSON
) STRICT;

CREATE INDEX event_by_item ON event (item_id, seq);

CREATE TABLE learned (                   -- what the look scheduler knows of a class of jobs, for the next run
  class TEXT PRIMARY KEY,
  state TEXT NOT NULL                    -- JSON
) STRICT;

CREATE TRIGGER event_is_a_fact BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;
CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'an event is never deleted'); END;

CREATE TRIGGER item_begins_planned BEFORE INSERT ON item
WHEN NEW.state <> 'planned'
BEGIN SELECT RAISE(ABORT, 'illegal move: an item begins planned'); END;

CREATE TRIGGER item_moves_legally BEFORE UPDATE OF state, event ON item
WHEN NOT EXISTS (SELECT 1 FROM move WHERE from_state = OLD.state AND event = NEW.event AND to_state = NEW.state)
BEGIN SELECT RAISE(ABORT, 'illegal move of an item'); END;

CREATE TRIGGER item_with_money_stays BEFORE DELETE ON item
WHEN OLD.state <> 'planned' OR OLD.committed_micro_usd <> 0
BEGIN SELECT RAISE(ABORT, 'illegal move: only an item that cost nothing can be withdrawn'); END;

CREATE TRIGGER clip_begins_wanted BEFORE INSERT ON clip
WHEN NEW.state <> 'wanted' OR NEW.copy <> 'none'
BEGIN SELECT RAISE(ABORT, 'illegal move: a clip begins wanted, and without a copy'); END;

CREATE TRIGGER clip_moves_legally BEFORE UPDATE OF state, event ON clip
WHEN NOT EXISTS (SELECT 1 FROM clip_move WHERE from_state = OLD.state AND event = NEW.event AND to_state = NEW.state)
BEGIN SELECT RAISE(ABORT, 'illegal move of a clip'); END;

CREATE TRIGGER copy_moves_legally BEFORE UPDATE OF copy, remote ON clip
WHEN (OLD.copy <> NEW.copy OR OLD.remote <> NEW.remote)
AND NOT EXISTS (SELECT 1 FROM copy_move WHERE from_state = OLD.copy AND event = NEW.event AND to_state = NEW.copy)
BEGIN SELECT RAISE(ABORT, 'illegal move of a copy'); END;

CREATE TRIGGER money_of_new_item AFTER INSERT ON item
BEGIN UPDATE money SET committed_micro_usd = committed_micro_usd + NEW.committed_micro_usd; END;

CREATE TRIGGER money_of_item AFTER UPDATE OF committed_micro_usd ON item
WHEN NEW.committed_micro_usd <> OLD.committed_micro_usd
BEGIN UPDATE money SET committed_micro_usd = committed_micro_usd + NEW.committed_micro_usd - OLD.committed_micro_usd; END;
