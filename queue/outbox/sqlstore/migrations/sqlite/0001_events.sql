CREATE TABLE {{prefix}}outbox (
  seq integer PRIMARY KEY AUTOINCREMENT,
  topic text NOT NULL,
  key text NOT NULL,
  id text NOT NULL,
  source text NOT NULL,
  type text NOT NULL,
  time integer NOT NULL,
  content_type text NOT NULL,
  attributes text NOT NULL,
  data blob NOT NULL,
  added integer NOT NULL
);
CREATE TABLE {{prefix}}outbox_done (
  seq integer PRIMARY KEY,
  topic text NOT NULL,
  key text NOT NULL,
  id text NOT NULL,
  source text NOT NULL,
  type text NOT NULL,
  time integer NOT NULL,
  content_type text NOT NULL,
  attributes text NOT NULL,
  data blob NOT NULL,
  added integer NOT NULL,
  done integer NOT NULL
);
CREATE INDEX {{schema}}{{name}}outbox_done_done ON {{name}}outbox_done (done);
CREATE TABLE {{prefix}}outbox_relay (
  one integer PRIMARY KEY CHECK (one = 1),
  holder text NOT NULL,
  token integer NOT NULL,
  until integer NOT NULL
);
INSERT INTO {{prefix}}outbox_relay VALUES (1, '', 0, 0);
