package main

import (
	"fmt"
	"strings"
	"time"
)

// mode is what is measured.
type mode struct {
	name string
	// Messages are published by so many at a time, each waiting for its confirmation, or in batches of so many.
	publishers, batch int
	// They are consumed by so many handlers, which do nothing, or wait so long, as for a database.
	handlers int
	wait     time.Duration
	ordered  bool
	// rate is how many a second are published while one handler runs, to see how long each is on its way.
	rate int
}

var modes = []mode{
	{name: "publish 1", publishers: 1},
	{name: "publish 64", publishers: 64},
	{name: "publish 256", publishers: 256},
	{name: "batches of 100", publishers: 1, batch: 100},
	{name: "consume 16", handlers: 16},
	{name: "consume 64", handlers: 64},
	{name: "consume 16, 1 ms each", handlers: 16, wait: time.Millisecond},
	{name: "consume ordered 16", handlers: 16, ordered: true},
	{name: "on the way", handlers: 16, rate: 500},
}

// judged says whether throughput is promised: that of ordered consumption is not, as no client library has it.
func (m mode) judged() bool { return m.rate == 0 && !m.ordered }

func modeNames() string {
	names := make([]string, len(modes))
	for i, m := range modes {
		names[i] = fmt.Sprintf("%q", m.name)
	}
	return strings.Join(names, ", ")
}
