CREATE TABLE {{prefix}}inbox (
  scope text NOT NULL,
  id text NOT NULL,
  done integer NOT NULL,
  PRIMARY KEY (scope, id)
) WITHOUT ROWID;
CREATE INDEX {{schema}}{{name}}inbox_done ON {{name}}inbox (done);
