package natsqueue

import (
	"hash/fnv"
	"strconv"
	"strings"
)

// names says what is called how at the server.
//
//	PREFIX-t-TOPIC         a stream: the messages of a topic
//	PREFIX.t.TOPIC.LANE    its subjects: for every group
//	PREFIX.g.TOPIC.GROUP.LANE   and for one group
//	PREFIX-dead            a stream: the dead letters of all groups
//	PREFIX.d.TOPIC.GROUP   its subjects
//	PREFIX-lanes           a stream: who has which lane of an ordered group, and how far it is
//	PREFIX.l.TOPIC.GROUP.LANE   its subjects
//	PREFIX.m.TOPIC.GROUP   what the members of an ordered group tell each other; nothing is kept of it
//
// A dot is a separator at NATS: names have = in its place, which cannot stand in the name of a topic.
type names struct{ prefix string }

func escape(name string) string   { return strings.ReplaceAll(name, ".", "=") }
func unescape(name string) string { return strings.ReplaceAll(name, "=", ".") }

func (n names) stream(topic string) string { return n.prefix + "-t-" + escape(topic) }
func (n names) dead() string               { return n.prefix + "-dead" }
func (n names) lanes() string              { return n.prefix + "-lanes" }
func (n names) consumer(group string) string {
	return escape(group)
}

func (n names) all(topic string, lane int) string {
	return n.prefix + ".t." + escape(topic) + "." + strconv.Itoa(lane)
}

func (n names) every(topic string) string { return n.prefix + ".t." + escape(topic) + ".*" }
func (n names) toAny(topic string) string { return n.prefix + ".g." + escape(topic) + ".*.*" }

func (n names) to(topic, group string, lane int) string {
	return n.prefix + ".g." + escape(topic) + "." + escape(group) + "." + strconv.Itoa(lane)
}

func (n names) toEvery(topic, group string) string {
	return n.prefix + ".g." + escape(topic) + "." + escape(group) + ".*"
}

func (n names) letters(topic, group string) string {
	return n.prefix + ".d." + escape(topic) + "." + escape(group)
}

func (n names) lane(topic, group string, lane int) string {
	return n.prefix + ".l." + escape(topic) + "." + escape(group) + "." + strconv.Itoa(lane)
}

func (n names) laneEvery(topic, group string) string {
	return n.prefix + ".l." + escape(topic) + "." + escape(group) + ".*"
}

func (n names) members(topic, group string) string {
	return n.prefix + ".m." + escape(topic) + "." + escape(group)
}

// groupOf takes a subject of the lanes or of the dead letters apart.
func (n names) groupOf(subject string) (topic, group string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(subject, n.prefix+"."), ".")
	if len(parts) < 3 {
		return "", "", false
	}
	return unescape(parts[1]), unescape(parts[2]), true
}

// laneOf says in which of so many lanes the messages of a key are.
func laneOf(key string, lanes int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % uint32(lanes)) //nolint:gosec // at most maxLanes
}
