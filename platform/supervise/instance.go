//go:build unix

package supervise

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// instance is the shell around a machine: one goroutine that does what the machine says and tells it what happens.
type instance struct {
	s      *Supervisor
	g      *group
	id     string
	number int // 0 for a member
	member *Member

	inbox chan message
	done  chan struct{} // closed when the last process is gone and the instance is no longer listed

	// Of the goroutine alone.
	m       machine
	proc    *process
	given   map[string]string // addresses by protocol
	netns   *os.File          // the namespace of its processes; nil for that of this one
	network []string          // what they are told of it
	timers  []*time.Timer
	pace    *time.Timer // nil if the process was never slowed
	sink    sink

	readers sync.WaitGroup // of the output of processes

	// Guarded by s.mu.
	state   State
	crashes int               // in a row
	read    int               // the last start whose output has been read to its end
	told    map[string]string // the addresses of the last event
}

// message is an event for the machine.
type message struct {
	event
	proc   *process          // the process it is about; nil for the instance
	served map[string]string // of evReady
	reply  chan<- error      // of commands
}

// process is one process of an instance, from its start until it is reaped.
type process struct {
	pid       int
	out       *os.File // the end that is read
	stopProbe context.CancelFunc
}

func newInstance(s *Supervisor, g *group, id string, number int, member *Member) *instance {
	i := &instance{
		s: s, g: g, id: id, number: number, member: member,
		inbox: make(chan message), done: make(chan struct{}), given: make(map[string]string),
	}
	i.sink = sink{i: i}
	i.state = State{Service: g.Service, ID: id, State: Starting, Since: time.Now()}
	if member != nil {
		maps.Copy(i.given, member.Addrs)
		i.state.Addrs = maps.Clone(member.Addrs)
	}
	return i
}

// run is the goroutine.
func (i *instance) run() {
	i.handle(message{event: event{kind: evStart}})
	for i.m.phase != Stopped {
		msg := <-i.inbox
		if msg.proc != nil && msg.proc != i.proc {
			continue // about a process that is gone
		}
		var err error
		if !i.m.running() && msg.reply != nil && msg.kind != cmdStop {
			err = failure.New(failure.FailedPrecondition, "%s is not running (%s)", i.id, i.m.visible())
		} else {
			i.handle(msg)
		}
		if msg.reply != nil {
			msg.reply <- err
		}
	}
	for _, t := range i.timers {
		t.Stop()
	}
	if i.pace != nil {
		i.pace.Stop()
	}
	i.readers.Wait() // at most the second that reap leaves them
	i.sink.close()
	i.s.remove(i)
	close(i.done)
}

// send hands an event to the goroutine, or drops it if that has ended.
func (i *instance) send(msg message) {
	select {
	case i.inbox <- msg:
	case <-i.done:
	}
}

// command sends an event and waits until what it asks for has been begun.
func (i *instance) command(k kind) error { return i.order(event{kind: k}) }

func (i *instance) order(e event) error {
	reply := make(chan error, 1)
	i.send(message{event: e, reply: reply})
	select {
	case err := <-reply:
		return err
	case <-i.done:
		if e.kind == cmdStop {
			return nil
		}
		return failure.New(failure.FailedPrecondition, "%s has ended", i.id)
	}
}

func (i *instance) handle(msg message) {
	msg.now, msg.jitter = time.Now(), rand.Float64()
	if msg.kind == evReady {
		i.learn(msg.served)
	}
	for _, a := range i.m.step(msg.event) {
		i.act(a)
	}
	i.publish()
}

func (i *instance) act(a action) {
	switch a {
	case doStart:
		if err := i.start(); err != nil {
			i.sink.add(i.m.starts, fmt.Sprintf("%v", err)) // so that it is also where people look for the reason of a crash
			i.readAll(i.m.starts)
			i.handle(message{event: event{kind: evFailed, reason: err.Error()}})
		} else {
			i.handle(message{event: event{kind: evStarted}})
		}
	case doProbe:
		i.probe()
	case doTerminate:
		i.signal(syscall.SIGTERM)
	case doKill:
		i.signal(syscall.SIGKILL)
	case doFreeze:
		i.signal(syscall.SIGSTOP)
	case doThaw:
		i.signal(syscall.SIGCONT)
	case doReap:
		i.reap()
	case doRetry:
		i.after(time.Until(i.m.retryAt), message{event: event{kind: evRetry}})
	case doGrace:
		i.after(i.s.cfg.StopTimeout, message{event: event{kind: evGrace}, proc: i.proc})
	case doPace:
		if i.pace != nil {
			i.pace.Stop()
		}
		msg := message{event: event{kind: evPace}, proc: i.proc}
		i.pace = time.AfterFunc(i.m.pause(), func() { i.send(msg) })
	case doFinish:
		// The loop of run ends by the phase.
	}
}

// after sends a message later. At most one timer of each kind is running.
func (i *instance) after(d time.Duration, msg message) {
	i.timers = slices.DeleteFunc(i.timers, func(t *time.Timer) bool { return !t.Stop() })
	i.timers = append(i.timers, time.AfterFunc(d, func() { i.send(msg) }))
}

// signal sends a signal to the group. The process is not reaped yet, so the id is its own.
func (i *instance) signal(sig syscall.Signal) {
	if i.proc != nil {
		_ = syscall.Kill(-i.proc.pid, sig) // it may have ended, which is told elsewhere
	}
}

// start starts a process and the goroutines that follow it.
func (i *instance) start() error {
	if err := i.chooseAddrs(); err != nil {
		return err
	}
	i.setAddrs(i.given)
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", i.id, err)
	}
	defer w.Close()
	pid, err := i.s.spawner.start(command{
		argv: i.argv(), dir: i.g.Dir, env: i.environ(), in: i.s.null, out: w, netns: i.netns,
	})
	if err != nil {
		r.Close()
		return err
	}
	i.s.guardian.add(pid)
	p := &process{pid: pid, out: r, stopProbe: func() {}}
	i.proc = p
	i.s.wg.Go(func() {
		watch(pid, func(stopped bool) {
			k := evContinued
			if stopped {
				k = evStopped
			}
			i.send(message{event: event{kind: k}, proc: p})
		})
		i.send(message{event: event{kind: evEnded}, proc: p})
	})
	i.readers.Add(1)
	start := i.m.starts
	i.s.wg.Go(func() {
		_ = copyLines(r, func(text string) { i.sink.add(start, text) }) // an error is the deadline of reap
		r.Close()
		i.readAll(start)
		i.readers.Done()
		i.send(message{event: event{kind: evSilent}, proc: p})
	})
	return nil
}

// readAll notes that all is there of the output of a start.
func (i *instance) readAll(start int) {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	i.read = max(i.read, start)
}

// reap ends what is left of the group and frees the id of the process.
func (i *instance) reap() {
	p := i.proc
	i.proc = nil
	p.stopProbe()
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	i.s.guardian.remove(p.pid)
	status := reap(p.pid)
	i.m.reason = describe(status)
	if i.m.killed && i.m.phase == Backoff { // and not by the kernel, for want of memory, nor by somebody from outside
		i.m.reason += ", as asked for"
	}
	// Somebody who left the group may hold the output open for ever.
	_ = p.out.SetReadDeadline(time.Now().Add(time.Second))
}

// probe begins to find out whether the process is ready.
func (i *instance) probe() {
	p := i.proc
	p.stopProbe()
	ctx, cancel := context.WithCancel(context.Background())
	p.stopProbe = cancel
	pr := &prober{
		probe: i.g.Ready, health: probeHealth, addrs: maps.Clone(i.given), serves: i.g.Serves, listens: i.g.listens.Load,
		ready: func(served map[string]string) {
			i.send(message{event: event{kind: evReady}, proc: p, served: served})
		},
		unready: func(why string) {
			i.send(message{event: event{kind: evUnready, reason: why}, proc: p})
		},
	}
	i.s.wg.Go(func() { pr.run(ctx) })
}

// learn takes what a probe found out.
func (i *instance) learn(served map[string]string) {
	if len(served) > 0 {
		i.g.listens.Store(true)
		i.setAddrs(served)
	}
}

// place takes the address and the namespace that the Network has for the instance.
func (i *instance) place() error {
	addr, ns, err := i.s.cfg.Network.Place(i.id)
	if err != nil {
		return fmt.Errorf("start %s: %w", i.id, err)
	}
	i.netns = ns
	if i.member == nil {
		i.given[protoGRPC] = netip.AddrPortFrom(addr, networkGRPC).String()
		i.given[protoHTTP] = netip.AddrPortFrom(addr, networkHTTP).String()
	}
	i.network = []string{"HOLDFAST_REPLICA_ADDR=" + netip.AddrPortFrom(addr, 0).String(), "HOLDFAST_INSECURE=true"}
	return nil
}

// chooseAddrs makes sure that each address of a numbered instance can be listened on: those it had if possible.
func (i *instance) chooseAddrs() error {
	if i.s.cfg.Network != nil {
		return i.place()
	}
	if i.member != nil {
		return nil
	}
	for _, protocol := range []string{protoGRPC, protoHTTP} {
		old := portOf(i.given[protocol])
		if old != 0 && freeSoon(old) {
			continue
		}
		port, err := i.s.ports.take()
		if err != nil {
			return err
		}
		if old != 0 {
			i.s.ports.release(old)
			i.s.cfg.Logger.Warn("port taken by another process, using a new one", "instance", i.id, "old", old, "new", port)
		}
		i.given[protocol] = loopback(port)
	}
	return nil
}

// freeSoon gives what was just killed a moment to be gone.
func freeSoon(port int) bool {
	for range 10 {
		if free(port) {
			return true
		}
		if !pausing(context.Background(), 10*time.Millisecond) {
			break
		}
	}
	return false
}

// releaseAddrs gives the ports of a numbered instance back.
func (i *instance) releaseAddrs() {
	if i.member != nil || i.s.cfg.Network != nil {
		return
	}
	for _, addr := range i.given {
		i.s.ports.release(portOf(addr))
	}
}

func (i *instance) argv() []string {
	if i.member == nil {
		return i.g.Command
	}
	return slices.Concat(i.g.Command, i.member.Args)
}

func (i *instance) environ() []string {
	env := slices.Concat(i.s.cfg.Env, []string{
		"HOLDFAST_INSTANCE=" + i.id,
		"HOLDFAST_DATA_DIR=" + i.s.servicesDir(),
	})
	for protocol, addr := range i.given {
		env = append(env, addrVariable(protocol)+"="+addr)
	}
	env = append(env, i.network...)
	env = append(env, i.g.Env...)
	if i.member != nil {
		env = append(env, i.member.Env...)
	}
	return named(lastOf(env), i.id)
}

// addrVariable is where a process finds its address for a protocol.
func addrVariable(protocol string) string { return "HOLDFAST_" + strings.ToUpper(protocol) + "_ADDR" }

// named says who the process is to OpenTelemetry, unless the user has: SDKs make up no instance by themselves, and what instances count
// under one name cannot be told apart.
func named(env []string, id string) []string {
	const variable, attribute = "OTEL_RESOURCE_ATTRIBUTES=", "service.instance.id="
	for at, kv := range env {
		attributes, ok := strings.CutPrefix(kv, variable)
		if !ok {
			continue
		}
		if !strings.Contains(","+strings.ReplaceAll(attributes, " ", ""), ","+attribute) {
			env[at] = variable + strings.TrimPrefix(strings.TrimRight(attributes, ", ")+","+attribute+id, ",")
		}
		return env
	}
	return append(env, variable+attribute+id)
}

// lastOf keeps the last one of variables with the same name: which one a program sees is not the same in all languages.
func lastOf(env []string) []string {
	at := make(map[string]int, len(env))
	kept := make([]string, 0, len(env))
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		if i, ok := at[key]; ok {
			kept[i] = kv
			continue
		}
		at[key] = len(kept)
		kept = append(kept, kv)
	}
	return kept
}

// setAddrs changes the addresses that users see.
func (i *instance) setAddrs(addrs map[string]string) {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	i.state.Addrs = maps.Clone(addrs) // states that were handed out keep the old map
}

// publish tells what has changed.
func (i *instance) publish() {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	was := i.state
	now := &i.state
	i.crashes = i.m.failures
	now.State, now.Restarts, now.RetryAt = i.m.visible(), i.m.restarts(), i.m.retryAt
	now.Reason, now.Late = i.m.why()
	now.PID = 0
	if i.proc != nil {
		now.PID = i.proc.pid
	}
	if now.State == was.State && now.PID == was.PID && now.Reason == was.Reason && maps.Equal(now.Addrs, i.told) {
		return
	}
	if now.State != was.State || now.PID != was.PID {
		now.Since = time.Now()
	}
	i.told = now.Addrs
	i.s.notify(*now)
}

// sink takes the output of an instance's processes, one after another and sometimes two at once.
type sink struct {
	i    *instance
	mu   sync.Mutex
	file *logFile
}

func (k *sink) add(start int, text string) {
	now := time.Now()
	k.i.s.logs.add(Line{Time: now, Service: k.i.g.Service, Instance: k.i.id, Text: text, start: start})
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		k.file = newLog(k.i.s.logsDir(), k.i.id, k.i.s.cfg.LogFileBytes)
	}
	if err := k.file.write(now, text); err != nil {
		k.i.s.cfg.Logger.Warn("log not kept on disk", "instance", k.i.id, "error", err)
	}
}

func (k *sink) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file != nil {
		if err := k.file.close(); err != nil {
			k.i.s.cfg.Logger.Warn("close log", "instance", k.i.id, "error", err)
		}
	}
}
