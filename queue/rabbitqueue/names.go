package rabbitqueue

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"time"
)

// lanes is how many queues an ordered group has. It is fixed, because publishers choose the lane of a key and may be older
// or newer than consumers: it is part of what is on the broker.
const lanes = 8

// laneOf returns the routing key of a message: its lane, for those groups that have lanes; others take all of them.
func laneOf(key string) string {
	if key == "" {
		return laneName(rand.IntN(lanes))
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return laneName(int(h.Sum32() % lanes))
}

func laneName(i int) string { return "01234567"[i : i+1] }

// names are those of what is on the broker. Topics and groups have no ':' in them.
type names struct{ prefix string }

// topic is the exchange that messages of a topic are published to, by their lane.
func (n names) topic(topic string) string { return n.prefix + ":" + topic }

// group is the exchange of those that are for one group alone, and the queue of a group without lanes.
func (n names) group(topic, group string) string { return n.topic(topic) + ":" + group }

func (n names) lane(topic, group string, i int) string {
	return n.group(topic, group) + ":lane-" + laneName(i)
}

func (n names) dead(topic, group string) string { return n.group(topic, group) + ":dead" }

func (n names) delay(topic, group string, d time.Duration) string {
	return n.group(topic, group) + ":delay-" + strconv.FormatInt(d.Milliseconds(), 10)
}

// members is the queue that every instance of an ordered group consumes from, to be counted: of the consumers of a lane the
// broker tells the active one only.
func (n names) members(topic, group string) string { return n.group(topic, group) + ":members" }

// drained is an exchange that says of an ordered group that its lanes are all there, and that its old queue was handled.
func (n names) drained(topic, group string) string { return n.group(topic, group) + ":drained" }

// making is the lock of who gives a group its old queue or its lanes, moving that of who drains the old queue, and browsing that of
// who looks at a queue.
func (n names) making(topic, group string) string { return n.group(topic, group) + ":making" }
func (n names) moving(topic, group string) string { return n.group(topic, group) + ":moving" }
func (n names) browsing(queue string) string      { return queue + ":browsing" }

// index is the queue that knows which groups there are.
func (n names) index() string { return n.prefix + ":index" }

// delays are for how long queues of returned messages keep them: one queue for each, since a message behind one that has to
// wait longer would wait as long (RabbitMQ looks at the head of a queue only).
var delays = []time.Duration{
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 45 * time.Minute, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour,
}

// delayFor returns the shortest of delays that is at least d, and the longest for what is beyond.
func delayFor(d time.Duration) time.Duration {
	for _, step := range delays {
		if d <= step {
			return step
		}
	}
	return delays[len(delays)-1]
}

// position names a dead letter: when it was buried, and something that tells it from others.
func position(at time.Time) string {
	return fmt.Sprintf("%016x-%08x", max(at.UnixNano(), 0), rand.Uint32())
}

// buriedAt is the inverse of position; zero for what is none.
func buriedAt(position string) time.Time {
	if len(position) < 16 {
		return time.Time{}
	}
	n, err := strconv.ParseInt(position[:16], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
