package kafkaqueue

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// The topics of a group are TOPIC.GROUP.again and TOPIC.GROUP.dead. Both names may have dots in them: a group with n of
// them has the suffix again-n, so that no two groups share a topic.
const (
	againSuffix = "again"
	deadSuffix  = "dead"
)

// groupID is the name of the consumer group. A slash is in no name.
func groupID(topic, group string) string { return topic + "/" + group }

func againTopic(topic, group string) string { return ofGroup(topic, group, againSuffix) }
func deadTopic(topic, group string) string  { return ofGroup(topic, group, deadSuffix) }

func ofGroup(topic, group, suffix string) string {
	if n := strings.Count(group, "."); n > 0 {
		suffix += "-" + strconv.Itoa(n)
	}
	return topic + "." + group + "." + suffix
}

// groupOf returns whose topic this is, as ofGroup names them.
func groupOf(name, suffix string) (driver.Group, bool) {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if !strings.HasPrefix(last, suffix) { // as nearly all
		return driver.Group{}, false
	}
	n := 0
	if last != suffix {
		count, ok := strings.CutPrefix(last, suffix+"-")
		if !ok {
			return driver.Group{}, false
		}
		var err error
		if n, err = strconv.Atoi(count); err != nil || n < 1 || count != strconv.Itoa(n) {
			return driver.Group{}, false
		}
	}
	parts := strings.Split(name, ".")
	parts = parts[:len(parts)-1]
	if len(parts) < n+2 {
		return driver.Group{}, false
	}
	at := len(parts) - n - 1
	g := driver.Group{Topic: strings.Join(parts[:at], "."), Group: strings.Join(parts[at:], ".")}
	return g, g.Topic != "" && g.Group != ""
}

// checkTopic refuses the names that topics of groups have.
func checkTopic(topic string) error {
	for _, suffix := range []string{againSuffix, deadSuffix} {
		if g, ok := groupOf(topic, suffix); ok {
			return fmt.Errorf("%w: a topic called %s would be that of group %s of %s", driver.ErrRefused, topic, g.Group, g.Topic)
		}
	}
	if topic == "." || topic == ".." {
		return fmt.Errorf("%w: Kafka has no topic %q", driver.ErrRefused, topic)
	}
	return nil
}
