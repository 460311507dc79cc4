-- The ledger of one batch in PostgreSQL, in a schema of its own; the tables are those of the SQLite ledger.
-- What is new belongs to several workers at once: who has an item (owner), who is at work (run.lease_until), and who
-- was silent for too long (run.lost). Texts compare byte by byte, as they do there.

CREATE TABLE meta (
  key   text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

CREATE TABLE run (
  epoch       bigint PRIMARY KEY,
  started_at  text NOT NULL,
  ended_at    text,
  outcome     text,
  about       text NOT NULL,
  lease_until timestamptz NOT NULL,            -- by the server's clock, and no other
  commits     bigint NOT NULL DEFAULT 0,       -- of this worker's transactions; tells what became of one cut off
  lost        boolean NOT NULL DEFAULT false   -- another worker has taken over; this one changes nothing any more
);

CREATE INDEX run_at_work ON run (epoch) WHERE ended_at IS NULL AND NOT lost;

CREATE TABLE move (
  from_state text COLLATE "C" NOT NULL,
  event      text COLLATE "C" NOT NULL,
  to_state   text COLLATE "C" NOT NULL,
  PRIMARY KEY (from_state, event, to_state)
);

CREATE TABLE clip_move (
  from_state text COLLATE "C" NOT NULL,
  event      text COLLATE "C" NOT NULL,
  to_state   text COLLATE "C" NOT NULL,
  PRIMARY KEY (from_state, event, to_state)
);

CREATE TABLE copy_move (
  from_state text COLLATE "C" NOT NULL,
  event      text COLLATE "C" NOT NULL,
  to_state   text COLLATE "C" NOT NULL,
  PRIMARY KEY (from_state, event, to_state)
);

CREATE TABLE money (
  one                 bigint PRIMARY KEY CHECK (one = 1),
  committed_micro_usd bigint NOT NULL
);

CREATE TABLE item (
  id                  text COLLATE "C" NOT NULL,
  revision            bigint NOT NULL CHECK (revision >= 1),
  position            bigint NOT NULL,
  state               text COLLATE "C" NOT NULL,
  event               text COLLATE "C" NOT NULL,
  attempt             bigint NOT NULL,
  moves               bigint NOT NULL,
  epoch               bigint NOT NULL,
  provider            text COLLATE "C" NOT NULL,
  model               text COLLATE "C" NOT NULL,
  job_id              text COLLATE "C",
  committed_micro_usd bigint NOT NULL CHECK (committed_micro_usd >= 0),
  request             text NOT NULL,
  record              text NOT NULL,
  rowid               bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  owner               bigint,                  -- the run that has it; one that is not at work has nothing
  PRIMARY KEY (id, revision)
);

CREATE UNIQUE INDEX item_by_job ON item (provider, job_id) WHERE job_id IS NOT NULL;
CREATE INDEX item_by_state ON item (state, position, rowid);

CREATE TABLE clip (
  item_id    text COLLATE "C" NOT NULL,
  revision   bigint NOT NULL,
  idx        bigint NOT NULL,
  state      text COLLATE "C" NOT NULL,
  event      text COLLATE "C" NOT NULL,
  part       text NOT NULL,
  file       text COLLATE "C" NOT NULL,
  sha256     text NOT NULL,
  size_bytes bigint NOT NULL,
  facts      text NOT NULL,
  warnings   text NOT NULL,
  copy       text COLLATE "C" NOT NULL DEFAULT 'none',
  remote     text NOT NULL DEFAULT '{}',
  PRIMARY KEY (item_id, revision, idx),
  FOREIGN KEY (item_id, revision) REFERENCES item (id, revision) ON DELETE CASCADE
);

CREATE UNIQUE INDEX clip_by_file ON clip (file) WHERE state = 'done';

CREATE TABLE event (
  seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at       text NOT NULL,
  epoch    bigint NOT NULL,
  item_id  text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  kind     text COLLATE "C" NOT NULL,
  data     text NOT NULL
);

CREATE INDEX event_by_item ON event (item_id, seq);

CREATE TABLE learned (
  class text COLLATE "C" PRIMARY KEY,
  state text NOT NULL
);
