// Command queuechaos shows that no message is lost and none has its effect twice, whatever happens to those who handle
// messages and to the engine that keeps them: processes are killed with SIGKILL and stopped with SIGSTOP at random, and so
// are the engine's, again and again.
//
//	go run ./bench/queuechaos                               # 100,000 messages on each engine
//	go run ./bench/queuechaos -engines nats3 -seeds 7       # one engine, another order of events
//	go run ./bench/queuechaos -partition                    # the engine cannot be reached for 30 s, in four ways
//	go run ./bench/queuechaos -inbox sqlite                 # effects in SQLite instead of PostgreSQL
//
// Three processes publish messages of 1,000 keys, those of a key one after the other, each until it is confirmed. Three
// processes handle them as one group, ordered, with an inbox: the effect of a message is a row in a database, written in
// the transaction of its mark. In the end all are left alone, until every message that was confirmed has had its effect;
// then the rows are judged by what the publishers were told.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

const (
	publishers = 3
	consumers  = 3
	keys       = 1000

	// hold is for how long a consumer that died keeps its messages: shorter than the default, so that more happens.
	hold = 5 * time.Second
	// patience is how long nothing may come in the end before what is missing is lost.
	patience = 90 * time.Second
)

// settings are this program's own.
var settings struct {
	messages, rate int
	partition      bool
	inbox          string
	keep           string
}

var program = trial.Trial{
	Name:   "queuechaos",
	About:  fmt.Sprintf("messages of %d keys from %d processes are handled by %d, while these and the engine are killed and stopped", keys, publishers, consumers),
	Cases:  broker.Kinds,
	Choose: "engines",
	Flags: func(f *flag.FlagSet) {
		f.IntVar(&settings.messages, "messages", 100_000, "how many `messages` are published")
		f.IntVar(&settings.rate, "rate", 500, "how many a `second`")
		f.BoolVar(&settings.partition, "partition", false, "cut the engine off instead of killing anything")
		f.StringVar(&settings.inbox, "inbox", "postgres", "where effects go: postgres or sqlite")
		f.StringVar(&settings.keep, "keep", "", "leave what was written below this `directory`")
	},
	Run: run,
}

func main() {
	broker.Child()
	child()
	trial.Main(program)
}

func run(ctx context.Context, r *trial.Run) (err error) {
	var dir string
	if settings.keep != "" {
		dir = filepath.Join(settings.keep, fmt.Sprintf("%s-%d", r.Case, r.Seed))
		err = errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)) // of another run
	} else if dir, err = os.MkdirTemp("", "holdfast-queuechaos-"); err == nil {
		defer os.RemoveAll(dir) //nolint:errcheck // in the temporary directory
	}
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	w := &world{r: r, dir: dir, begun: time.Now()}
	defer w.close()
	if settings.partition {
		return partition(ctx, w)
	}
	messages, rate, keys := settings.messages, settings.rate, keys
	if r.Short {
		messages, rate, keys = min(messages, 1000), max(rate, 500), keys/10
	}
	if err := w.start(ctx, spec{Messages: messages, Keys: keys, Rate: rate, Deadline: 10 * time.Second}, false); err != nil {
		return err
	}
	s := newScript(w, messages)
	if err := s.run(ctx); err != nil {
		return err
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	v, err := w.judge(ctx)
	if err != nil {
		return err
	}
	v.report(r)
	s.report()
	return nil
}

// errEnded is of a process that ended by itself.
var errEnded = errors.New("ended by itself")
