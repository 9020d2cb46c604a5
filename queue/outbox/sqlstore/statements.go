package sqlstore

import "fmt"

// statements are what differs between databases. Names are of a checked prefix.
type statements struct {
	// add: lock (PostgreSQL alone), topic, key, id, source, type, time, content_type, attributes, data, added (SQLite alone).
	add, addLocked string
	// lock: advisory locks, in order.
	lock string
	// pending: limit, bytes; pendingBut: topics, keys, seqs too.
	pending, pendingBut string
	// done: seqs; keep, before it in the same transaction: seqs, now (SQLite alone). mark and keepMarked: pairs of seq and id
	// after the seqs.
	done, keep, mark, keepMarked string
	// clean: before or age, limit.
	clean string
	// lag: limit.
	lag string
	// lead: holder, lease in seconds, now (SQLite alone); renew and resign: likewise.
	lead, renew, resign string
	asleep              string
}

// farLeases, and farSeconds, are how far away the end of a lease is that nobody was given: the database's clock went back. Who
// holds it, if anybody does, learns with its next renewal that another one has it.
const (
	farLeases  = 10
	farSeconds = 60
)

const columns = "topic, key, id, source, type, time, content_type, attributes, data"

func postgres(prefix, channel string, keep, notify bool) statements {
	table, done, relay := prefix+"outbox", prefix+"outbox_done", prefix+"outbox_relay"
	add := func(from string, first int) string {
		values := ""
		for i := range 9 {
			if i > 0 {
				values += ", "
			}
			values += fmt.Sprintf("$%d", first+i)
		}
		// SELECT ... FROM the lock: the lock is had before the sequence is asked for a number, which orders the events of a key
		// as their transactions commit.
		return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s%s", table, columns, values, from)
	}
	// Sessions that notify commit one after the other, so they do only if the relay sleeps.
	told := func(with, insert string) string {
		if !notify {
			if with != "" {
				return "WITH " + with + " " + insert
			}
			return insert
		}
		if with != "" {
			with += ", "
		}
		return fmt.Sprintf("WITH %sadded AS (%s RETURNING 1) SELECT pg_notify('%s', '') FROM %s, added WHERE asleep", with, insert, channel, relay)
	}
	// What is large is not in the row, and is read only of those that are returned.
	page := func(where string) string {
		return fmt.Sprintf(`SELECT seq, %[3]s, added FROM (
SELECT *, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before FROM (
SELECT * FROM %[1]s%[2]s ORDER BY seq LIMIT $1) AS page) AS counted WHERE before < $2 ORDER BY seq`, table, where, columns)
	}
	const seqs = "seq = ANY ($1::bigint[])"
	gone := func(where string) string {
		remove := fmt.Sprintf("DELETE FROM %s WHERE %s", table, where)
		if !keep {
			return remove
		}
		// One that is kept already had its number before the sequence began anew, as after a restored dump.
		return fmt.Sprintf(`WITH gone AS (%[1]s RETURNING seq, %[2]s, added)
INSERT INTO %[3]s (seq, %[2]s, added) SELECT seq, %[2]s, added FROM gone ON CONFLICT (seq) DO NOTHING`, remove, columns, done)
	}
	return statements{
		add:       told("", add("", 1)),
		addLocked: told("lock AS MATERIALIZED (SELECT pg_advisory_xact_lock($1))", add(" FROM lock", 2)),
		lock:      "SELECT pg_advisory_xact_lock(one) FROM unnest($1::bigint[]) AS one",
		pending:   page(""),
		pendingBut: page(` WHERE NOT topic = ANY (ARRAY(SELECT json_array_elements_text($3::json))) AND NOT seq = ANY ($5::bigint[])
AND (topic, key) NOT IN (SELECT pair ->> 0, pair ->> 1 FROM json_array_elements($4::json) AS held(pair))`),
		done:  gone(seqs),
		mark:  gone(seqs + " AND (seq, id) IN (SELECT (pair ->> 0)::bigint, pair ->> 1 FROM json_array_elements($2::json) AS marks(pair))"),
		clean: fmt.Sprintf("DELETE FROM %[1]s WHERE seq IN (SELECT seq FROM %[1]s WHERE done < now() - make_interval(secs => $1) ORDER BY done LIMIT $2 FOR UPDATE SKIP LOCKED)", done),
		lag:   fmt.Sprintf("SELECT (SELECT count(*) FROM (SELECT FROM %[1]s LIMIT $1) AS counted), (SELECT added FROM %[1]s ORDER BY seq LIMIT 1)", table),
		lead: fmt.Sprintf(`UPDATE %s SET holder = $1, token = token + 1, until = clock_timestamp() + make_interval(secs => $2)
WHERE one = 1 AND (holder = '' OR until < clock_timestamp()
OR until > clock_timestamp() + greatest(make_interval(secs => $2) * %d, make_interval(secs => %d))) RETURNING token`, relay, farLeases, farSeconds),
		renew:  fmt.Sprintf("UPDATE %s SET until = clock_timestamp() + make_interval(secs => $2) WHERE one = 1 AND holder = $1", relay),
		resign: fmt.Sprintf("UPDATE %s SET holder = '' WHERE one = 1 AND holder = $1", relay),
		asleep: fmt.Sprintf("UPDATE %s SET asleep = $1 WHERE one = 1 AND asleep <> $1", relay),
	}
}

func sqlite(prefix string) statements {
	table, done, relay := prefix+"outbox", prefix+"outbox_done", prefix+"outbox_relay"
	page := func(where string) string {
		return fmt.Sprintf(`WITH page AS (SELECT seq, length(data) AS size FROM %[1]s%[2]s ORDER BY seq LIMIT ?1),
cut AS (SELECT seq, sum(size) OVER (ORDER BY seq) - size AS before FROM page)
SELECT o.seq, %[3]s, added FROM %[1]s o JOIN cut USING (seq) WHERE before < ?2 ORDER BY o.seq`, table, where, columns)
	}
	const seqs = "seq IN (SELECT value FROM json_each(?1))"
	const pairs = seqs + " AND (seq, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
	gone := func(where string) string { return fmt.Sprintf("DELETE FROM %s WHERE %s", table, where) }
	keep := func(where string, now int) string {
		return fmt.Sprintf("INSERT OR IGNORE INTO %[2]s (seq, %[3]s, added, done) SELECT seq, %[3]s, added, ?%[5]d FROM %[1]s WHERE %[4]s",
			table, done, columns, where, now)
	}
	return statements{
		add:     fmt.Sprintf("INSERT INTO %s (%s, added) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)", table, columns),
		pending: page(""),
		pendingBut: page(` WHERE topic NOT IN (SELECT value FROM json_each(?3)) AND seq NOT IN (SELECT value FROM json_each(?5))
AND (topic, key) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?4))`),
		done: gone(seqs), keep: keep(seqs, 2), mark: gone(pairs), keepMarked: keep(pairs, 3),
		clean: fmt.Sprintf("DELETE FROM %[1]s WHERE seq IN (SELECT seq FROM %[1]s WHERE done < ?1 ORDER BY done LIMIT ?2)", done),
		lag:   fmt.Sprintf("SELECT (SELECT count(*) FROM (SELECT 1 FROM %[1]s LIMIT ?1)), (SELECT added FROM %[1]s ORDER BY seq LIMIT 1)", table),
		lead: fmt.Sprintf(`UPDATE %s SET holder = ?1, token = token + 1, until = ?3 + CAST(?2 * 1000000 AS integer)
WHERE one = 1 AND (holder = '' OR until < ?3 OR until > ?3 + max(CAST(?2 * %d AS integer), %d) * 1000000) RETURNING token`, relay, farLeases, farSeconds),
		renew:  fmt.Sprintf("UPDATE %s SET until = ?3 + CAST(?2 * 1000000 AS integer) WHERE one = 1 AND holder = ?1", relay),
		resign: fmt.Sprintf("UPDATE %s SET holder = '' WHERE one = 1 AND holder = ?1", relay),
	}
}
