package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
)

// Leader asks each instance of a service, over and over, whether it leads, and checks that no two do at a time. Get is asked
// at each instance's own address, and has to keep "leader" (true or false) and "term", a number that grows with each leader
// and stays while it leads: the token of a lock, a term of Raft.
//
// Two answers at different times do not show two leaders at a time. What does: two that claim the same term; and one that
// claims a term after another has claimed a later one. While no instance answers nothing is seen: if that is for a quarter of
// the drill or longer, it is Unknown.
type Leader struct {
	Service string
	Get     load.Call
	Every   time.Duration // 0 is 50 ms
}

const (
	defaultLeaderEvery = 50 * time.Millisecond
	listEvery          = 500 * time.Millisecond // how often the instances are listed
	leaderTimeout      = time.Second            // of a question, if it does not say
	maxClaims          = 500_000
	maxInstances       = 256
)

type leader struct {
	named
	cfg Leader

	mu     sync.Mutex
	claims []claim
	more   int // claims beyond maxClaims
	asked  int // answers
	quiet  silence
	seen   map[string]bool
	said   string // what the last answer said that was none
}

// silence finds the longest time without an answer.
type silence struct {
	begun, last time.Duration // of all, and of the last answer
	from, to    time.Duration // the longest until now
}

// begin begins.
func (s *silence) begin(at time.Duration) { s.begun, s.last, s.from, s.to = at, at, at, at }

// end notes an answer, or the end of all.
func (s *silence) end(at time.Duration) {
	if at-s.last > s.to-s.from {
		s.from, s.to = s.last, at
	}
	s.last = max(s.last, at)
}

// long reports whether it was a quarter of all, or longer.
func (s *silence) long() bool { return s.to > s.from && 4*(s.to-s.from) >= s.last-s.begun }

// claim is an answer of an instance that says that it leads. When it did is between Begun and Ended.
type claim struct {
	instance     string
	term         uint64
	begun, ended time.Duration
}

func (l *leader) Prepare(ctx context.Context, w *World) error {
	if l.cfg.Get.Timeout <= 0 {
		l.cfg.Get.Timeout = leaderTimeout
	}
	l.cfg.Get.Name = "leader of " + l.cfg.Service
	l.seen = make(map[string]bool)
	if w.Instances == nil {
		return invalid("nothing is known of instances here")
	}
	if l.cfg.Get.Keep["leader"] == "" || l.cfg.Get.Keep["term"] == "" {
		return invalid("it keeps leader and term: keep: {leader: leader, term: term}")
	}
	if l.cfg.Get.GRPC != "" || len(l.cfg.Get.Path) == 0 || l.cfg.Get.Path[0] != '/' {
		return invalid("it is a path of HTTP")
	}
	all, err := w.Instances(ctx, l.cfg.Service)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.HTTP != "" {
			_, err := l.at(ctx, w, i)
			return err
		}
	}
	return invalid("no instance of %s has an address for HTTP", l.cfg.Service)
}

// at returns the question to one instance.
func (l *leader) at(ctx context.Context, w *World, i Instance) (*load.Prepared, error) {
	call := l.cfg.Get
	call.Path = "http://" + i.HTTP + call.Path
	return w.Caller.Prepare(ctx, nil, call)
}

// Run asks.
func (l *leader) Run(ctx context.Context, w *World) {
	l.heard(w, (*silence).begin)
	defer l.heard(w, (*silence).end)
	var asking sync.WaitGroup
	defer asking.Wait()
	known := make(map[Instance]context.CancelFunc)
	for {
		all, err := w.Instances(ctx, l.cfg.Service)
		for _, i := range all {
			if i.HTTP == "" || known[i] != nil || len(known) >= maxInstances {
				continue
			}
			p, err := l.at(ctx, w, i)
			if err != nil {
				continue
			}
			one, stop := context.WithCancel(ctx)
			known[i] = stop
			asking.Go(func() { l.ask(one, w, i, p) })
		}
		for i, stop := range known {
			if err == nil && !slices.Contains(all, i) {
				stop()
				delete(known, i)
			}
		}
		if !wait(ctx, listEvery) {
			for _, stop := range known {
				stop()
			}
			return
		}
	}
}

func (l *leader) heard(w *World, note func(*silence, time.Duration)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.quiet, w.Record.Now())
}

// ask asks one instance over and over.
func (l *leader) ask(ctx context.Context, w *World, i Instance, p *load.Prepared) {
	for n := 0; ; n++ {
		begun := w.Record.Now()
		l.note(i, begun, w.Record.Now, p.Do(ctx, draw(w, 0x6c656164, n), nil))
		if !wait(ctx, orDefault(l.cfg.Every, defaultLeaderEvery)) {
			return
		}
	}
}

func (l *leader) note(i Instance, begun time.Duration, now func() time.Duration, s load.Sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Outcome != load.OK {
		l.said = said(s)
		return
	}
	l.asked++
	leads, err := strconv.ParseBool(s.Kept["leader"])
	if err != nil {
		l.said = fmt.Sprintf("leader is %q, which is neither true nor false", shorten(s.Kept["leader"]))
		return
	}
	if !leads {
		l.quiet.end(now())
		return
	}
	term, err := strconv.ParseUint(s.Kept["term"], 10, 64)
	if err != nil {
		l.said = fmt.Sprintf("term is %q, which is no number", shorten(s.Kept["term"]))
		return
	}
	ended := now()
	l.quiet.end(ended)
	if len(l.claims) >= maxClaims {
		l.more++
		return
	}
	l.claims = append(l.claims, claim{i.ID, term, begun, ended})
	l.seen[i.ID] = true
}

// Judge looks at what was claimed.
func (l *leader) Judge(context.Context, *World) Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := Verdict{Name: l.Name(), Answer: Holds}
	wrong, terms := twoLeaders(l.claims)
	wrong.into(&v)
	v.Says = fmt.Sprintf("%s, %s that led for %s", count(l.asked, "answer", "answers"), count(len(l.seen), "instance", "instances"), count(terms, "term", "terms"))
	switch {
	case v.Answer == Broken:
	case len(l.claims) == 0:
		v.Answer, v.Says = Unknown, "nobody said that it leads: "+orText(l.said, fmt.Sprintf("%d answers say that they do not", l.asked))
	case l.quiet.long():
		v.Answer = Unknown
		v.Says += fmt.Sprintf("; from %v until %v no instance answered, and who led then is not known", ms(l.quiet.from), ms(l.quiet.to))
		if l.said != "" {
			v.Says += ": " + l.said
		}
	case l.more > 0:
		v.Answer = Unknown
		v.Says += fmt.Sprintf("; %d later answers of leaders were too many to be looked at", l.more)
	}
	return v
}

// twoLeaders finds claims that cannot all be true with one leader at a time, one finding for each pair of leaders.
func twoLeaders(claims []claim) (wrong findings, terms int) {
	claims = slices.SortedStableFunc(slices.Values(claims), func(a, b claim) int { return cmp.Compare(a.ended, b.ended) })
	type pair struct{ a, b claim }
	found := make(map[pair]bool)
	add := func(a, b claim, how string) {
		p := pair{claim{instance: a.instance, term: a.term}, claim{instance: b.instance, term: b.term}}
		if !found[p] {
			found[p] = true
			wrong.add(b.begun, fmt.Sprintf("%s leads in term %d at %v, %s %s in term %d at %v", b.instance, b.term, ms(b.begun), how, a.instance, a.term, ms(a.ended)))
		}
	}
	owner := make(map[uint64]claim)
	for _, c := range claims {
		if first, ok := owner[c.term]; !ok {
			owner[c.term] = c
		} else if first.instance != c.instance {
			add(first, c, "and so does")
		}
	}
	// Of those that had ended before a claim was begun, the one with the latest term.
	byBegun := slices.SortedStableFunc(slices.Values(claims), func(a, b claim) int { return cmp.Compare(a.begun, b.begun) })
	next := 0
	var latest claim
	for _, c := range byBegun {
		for next < len(claims) && claims[next].ended < c.begun {
			if claims[next].term > latest.term {
				latest = claims[next]
			}
			next++
		}
		if c.term < latest.term {
			add(latest, c, "and before that led")
		}
	}
	return wrong, len(owner)
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
