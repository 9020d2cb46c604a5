CREATE TABLE {{prefix}}outbox (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic text NOT NULL,
  key text NOT NULL,
  id text NOT NULL,
  source text NOT NULL,
  type text NOT NULL,
  time timestamptz NOT NULL,
  content_type text NOT NULL,
  attributes text NOT NULL,
  data bytea NOT NULL,
  added timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0.2);
CREATE TABLE {{prefix}}outbox_done (
  seq bigint PRIMARY KEY,
  topic text NOT NULL,
  key text NOT NULL,
  id text NOT NULL,
  source text NOT NULL,
  type text NOT NULL,
  time timestamptz NOT NULL,
  content_type text NOT NULL,
  attributes text NOT NULL,
  data bytea NOT NULL,
  added timestamptz NOT NULL,
  done timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX {{name}}outbox_done_done ON {{prefix}}outbox_done (done);
CREATE TABLE {{prefix}}outbox_relay (
  one integer PRIMARY KEY CHECK (one = 1),
  asleep boolean NOT NULL,
  holder text NOT NULL,
  token bigint NOT NULL,
  until timestamptz NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
INSERT INTO {{prefix}}outbox_relay VALUES (1, false, '', 0, 'epoch');
