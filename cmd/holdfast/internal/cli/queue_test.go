//go:build unix

package cli_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/embed"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

// nats runs a server, and returns an engine on it and a command line whose running system has it.
func nats(t *testing.T) (*line, *natsqueue.Engine) {
	t.Helper()
	addr := freeAddr(t)
	server := embed.NewNATS(embed.NATSConfig{Name: "one", DataDir: t.TempDir(), ClientAddr: addr})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-server.Ready()
	e, err := natsqueue.Open(natsqueue.Config{Servers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	f, line := serve(t)
	f.queue = "nats://" + addr
	return line, e
}

func bury(t *testing.T, e *natsqueue.Engine, id, data string) {
	t.Helper()
	err := e.Bury(t.Context(), "orders.paid", "shipping", &driver.Message{
		ID: id, Source: "orders", Type: "paid", Key: "k-" + id, Time: time.Unix(1, 0), ContentType: "application/json", Data: []byte(data),
		Attributes: map[string]string{"traceparent": "00-1-1-00"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// squeeze makes tables comparable.
func squeeze(s string) string {
	s = regexp.MustCompile(`\b\d+s\b`).ReplaceAllString(s, "0s")
	return regexp.MustCompile(` +`).ReplaceAllString(s, " ")
}

func TestQueueHelpHasExamples(t *testing.T) {
	l := &line{}
	for _, command := range []string{"list", "show", "dead", "replay", "discard"} {
		if code := l.run("queue", command, "--help"); code != 0 || !strings.Contains(l.out.String(), "Examples:\n  ") {
			t.Errorf("%s: exit code %d: %s%s", command, code, l.out.String(), l.err.String())
		}
		golden(t, "help-queue-"+command+".golden", l.out.String())
	}
}

// What is in the environment is used, and not shown: it may have a password in it.
func TestQueueHelpShowsNoEnvironment(t *testing.T) {
	f, l := serve(t)
	l.env["HOLDFAST_QUEUE"] = "kafka://shop:hunter2@127.0.0.1:0"
	for _, args := range []string{"queue --help", "queue list --help", "help queue list", "queue list --limmit"} {
		if l.run(strings.Fields(args)...); strings.Contains(l.out.String()+l.err.String(), "hunter2") {
			t.Errorf("%s: %s%s", args, l.out.String(), l.err.String())
		}
	}
	// Not the engine of the running system, and a flag goes before.
	f.queue = "nats://10.0.0.1:1"
	for want, args := range map[string]string{"the queue's URL has a broker": "queue list", "the scheme \"redis\"": "queue list --queue redis://h:1"} {
		if code := l.run(strings.Fields(args)...); code != 2 || !strings.Contains(l.err.String(), want) || strings.Contains(l.err.String(), "hunter2") {
			t.Errorf("%s: exit code %d: %s", args, code, l.err.String())
		}
	}
}

// An engine that cannot be reached is named, and why, but not its password.
func TestQueueEngineThatDoesNotAnswer(t *testing.T) {
	l := &line{}
	addr := freeAddr(t)
	code := l.run("queue", "list", "--queue", "amqp://shop:hunter2@"+addr)
	if got := l.err.String(); code != 1 || !strings.Contains(got, "amqp://"+addr+" does not answer: ") || !strings.Contains(got, "refused") || strings.Contains(got, "hunter2") {
		t.Errorf("exit code %d: %s", code, got)
	}
}

// What is the same for all letters of a group does not tell why each of them is there.
func TestQueueDeadSaysWhy(t *testing.T) {
	l, e := nats(t)
	if err := e.Declare(t.Context(), driver.Topic{Name: "orders.paid", Groups: []string{"shipping"}}); err != nil {
		t.Fatal(err)
	}
	want := "LETTER ID KEY BURIED ATTEMPTS REASON\n"
	for i, c := range [][3]string{
		{"rejected by its handler", "no such visitor", "rejected by its handler: no such visitor"},
		{"", "no such visitor", "no such visitor"},
		{"not JSON: x", "x", "not JSON: x"},
		{"expired", "", "expired"},
	} {
		id := strconv.Itoa(i + 1)
		err := e.Bury(t.Context(), "orders.paid", "shipping", &driver.Message{
			ID: id, Source: "orders", Type: "paid", Key: "k", Time: time.Unix(1, 0), Attributes: map[string]string{"holdfastreason": c[0], "holdfastlasterror": c[1]},
		})
		if err != nil {
			t.Fatal(err)
		}
		want += id + " " + id + " k 0s 0 " + c[2] + "\n"
	}
	if code := l.run("queue", "dead", "orders.paid", "shipping"); code != 0 || squeeze(l.out.String()) != want {
		t.Errorf("exit code %d: %s%s, want %s", code, l.out.String(), l.err.String(), want)
	}
}

// A name is first of all a letter's; the IDs of messages are chosen by others.
func TestQueueLetterIsNotTheIDOfAnother(t *testing.T) {
	l, e := nats(t)
	if err := e.Declare(t.Context(), driver.Topic{Name: "orders.paid", Groups: []string{"shipping"}}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"one", "1", "7"} {
		bury(t, e, id, "{}")
	}
	for _, c := range []struct{ discard, left string }{
		{"1", "2 1 k-1 3 7 k-7"}, // not letter 2, the ID of which is 1
		{"7", "2 1 k-1"},         // an ID, as there is no letter 7
		{"1", ""},                // an ID now
	} {
		if code := l.run("queue", "discard", "orders.paid", "shipping", c.discard); code != 0 || l.out.String() != "1 dead letter discarded\n" {
			t.Errorf("discard %s: exit code %d: %s%s", c.discard, code, l.out.String(), l.err.String())
		}
		l.run("queue", "dead", "orders.paid", "shipping")
		var left []string
		for _, line := range strings.Split(strings.TrimSpace(l.out.String()), "\n")[1:] {
			left = append(left, strings.Fields(line)[:3]...)
		}
		if got := strings.Join(left, " "); got != c.left {
			t.Errorf("after discard %s there are %q, want %q", c.discard, got, c.left)
		}
	}
}

func TestQueueCommands(t *testing.T) {
	l, e := nats(t)
	want := func(code int, out, err string, args ...string) {
		t.Helper()
		got := l.run(append([]string{"queue"}, args...)...)
		if gotOut := squeeze(l.out.String()); got != code || gotOut != out || l.err.String() != err {
			t.Errorf("%v: exit code %d, want %d\nstandard output:\n%swant:\n%sstandard error:\n%swant:\n%s", args, got, code, gotOut, out, l.err.String(), err)
		}
	}
	head := "TOPIC GROUP WAITING UNSETTLED DEAD\n"
	want(0, head, "", "list")
	want(2, "", "holdfast queue show: no topic \"orders\" with a group; topics: none\n", "show", "orders", "shipping")
	if err := e.Declare(t.Context(), driver.Topic{Name: "orders.paid", Groups: []string{"shipping", "analytics"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if errs := e.Publish(t.Context(), "orders.paid", []*driver.Message{{ID: string(rune('a' + i)), Source: "x", Data: []byte("{}")}}); errs != nil {
			t.Fatal(errs)
		}
	}
	bury(t, e, "one", `{"order": 1}`)
	bury(t, e, "two", "plain \x1b[31mtext")
	bury(t, e, "three", "\xff")
	want(0, head+"orders.paid analytics 3 0 0\norders.paid shipping 3 0 3\n", "", "list")
	want(2, "", "holdfast queue list: no topic \"order.paid\" with a group; did you mean orders.paid? topics: orders.paid\n", "list", "order.paid")
	want(2, "", "holdfast queue show: no group \"shippin\" of orders.paid; did you mean shipping? groups: analytics, shipping\n", "show", "orders.paid", "shippin")
	want(0, head+"orders.paid shipping 3 0 3\n\nLETTERS LAST REASON\n3 0s\n", "", "show", "orders.paid", "shipping")
	want(0, "LETTER ID KEY BURIED ATTEMPTS REASON\n1 one k-one 0s 0\n2 two k-two 0s 0\n3 three k-three 0s 0\n", "", "dead", "orders.paid", "shipping")
	want(0, "LETTER ID KEY BURIED ATTEMPTS REASON\n1 one k-one 0s 0\n", "there are more; --limit N lists as many\n", "dead", "--limit", "1", "orders.paid", "shipping")
	want(2, "", "holdfast queue dead: no dead letter 17\n", "dead", "orders.paid", "shipping", "17")
	for _, name := range []string{"2", "two"} {
		if l.run("queue", "dead", "orders.paid", "shipping", name); !strings.Contains(l.out.String(), "traceparent   00-1-1-00\n") ||
			!strings.Contains(l.out.String(), "\n\nplain ") || strings.Contains(l.out.String(), "\x1b") {
			t.Errorf("dead %s:\n%s%s", name, l.out.String(), l.err.String())
		}
	}
	var rows []map[string]any
	if l.run("queue", "dead", "--json", "orders.paid", "shipping"); json.Unmarshal([]byte(l.out.String()), &rows) != nil || len(rows) != 3 ||
		rows[0]["data"].(map[string]any)["order"] != 1.0 || rows[1]["text"] == nil || rows[2]["base64"] != "/w==" {
		t.Errorf("dead --json: %s", l.out.String())
	}
	want(2, "", "holdfast queue replay: name letters, or --all; usage: holdfast queue replay TOPIC GROUP LETTER... | --all\n", "replay", "orders.paid", "shipping")
	want(2, "", "holdfast queue replay: no dead letter four\n", "replay", "orders.paid", "shipping", "1", "four")
	want(0, "1 dead letter replayed\n", "", "replay", "orders.paid", "shipping", "1")
	want(0, head+"orders.paid analytics 3 0 0\norders.paid shipping 4 0 2\n", "", "list")
	want(0, "1 dead letter discarded\n", "", "discard", "orders.paid", "shipping", "three")
	want(0, "1 dead letter replayed\n", "", "replay", "orders.paid", "shipping", "--all")
	want(0, "0 dead letters discarded\n", "", "discard", "orders.paid", "shipping", "--all")
	want(0, head+"orders.paid analytics 3 0 0\norders.paid shipping 5 0 0\n", "", "list", "orders.paid")

	for args, want := range map[string]string{"list ": "orders.paid :4", "show orders.paid s": "shipping :4", "replay ": "orders.paid :4", "dead orders.paid shipping ": ":4"} {
		l.run(append([]string{"__complete", "queue"}, strings.Split(args, " ")...)...)
		if got := strings.Join(strings.Fields(l.out.String()), " "); got != want {
			t.Errorf("completion of %q: %s", args, got)
		}
	}
}

func TestQueueCommandsSayWhatIsWrong(t *testing.T) {
	f, l := serve(t)
	for args, want := range map[string]string{
		"list":                   "the system shop has no engine for messages; name one with --queue",
		"list --queue redis://x": "queue: the scheme \"redis\" is unknown",
		"list --queue nats://u:secret@10.0.0.1:1": "the queue's URL has credentials in it",
		"list --queue nats://10.0.0.1:1":          "is beyond loopback",
		"lst":                                     "no command \"lst\"; did you mean list?",
		"replay orders shipping 1 --all":          "--all and \"1\" exclude each other",
	} {
		if code := l.run(append([]string{"queue"}, strings.Fields(args)...)...); code == 0 || !strings.Contains(l.err.String(), want) || strings.Contains(l.err.String(), "secret") {
			t.Errorf("%s: exit code %d: %s", args, code, l.err.String())
		}
	}
	if got := f.called(); got != "" {
		t.Error(got)
	}
}
