CREATE TABLE {{prefix}}inbox (
  scope text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  done timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (scope, id)
);
CREATE INDEX {{name}}inbox_done ON {{prefix}}inbox (done);
