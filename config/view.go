package config

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/lifecycle"
)

// maxSettings bounds what is kept below one prefix, whatever the engine holds.
const maxSettings = 4096

// view decides which settings are in force. It is pure: no clock, lock, goroutine or I/O.
//
// The invariants: a value in force was accepted by decode; what decode refuses changes no value; and no more settings are
// taken away at a time than are left, unless the engine was seen to remove each of them, or has gone on without them for
// keepFor.
type view[T any] struct {
	prefix  string
	exact   bool // prefix is the one key that counts
	keepFor time.Duration
	decode  func(key string, value []byte) (T, error)

	settings map[string]Setting[T]
	missing  map[string]time.Duration // kept keys, by view.answering when they were found to be gone

	// gap is whether something can have happened that was not seen: before the first list, after the engine did not
	// answer, and when its revision went back.
	gap      bool
	revision uint64

	// answering is how long, in total, the engine has been answering. What is kept ages by this clock.
	answering  time.Duration
	lastAnswer time.Time // zero after a failure

	known  bool // there is something to publish
	source Source
}

// note is one thing that a step has to say to the log.
type note struct {
	kind     noteKind
	key      string
	revision uint64
	err      error // of a refusal
}

type noteKind int

const (
	applied noteKind = iota
	refused
	removed
	kept
	confirmed // is really gone
	ignored   // more keys than maxSettings, or no key of ours
)

func newView[T any](prefix string, exact bool, keepFor time.Duration, decode func(string, []byte) (T, error)) *view[T] {
	return &view[T]{
		prefix: prefix, exact: exact, keepFor: keepFor, decode: decode,
		settings: make(map[string]Setting[T]), missing: make(map[string]time.Duration), gap: true,
	}
}

// seed fills an empty view with what was in force earlier. It is published by show.
func (v *view[T]) seed(values map[string][]byte) []note {
	var notes []note
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := v.ours(key); err != nil || len(v.settings) >= maxSettings {
			continue
		}
		value, err := v.read(key, values[key])
		if err != nil { // it was good for another version of this program
			notes = append(notes, note{refused, key, 0, err})
			continue
		}
		v.settings[key] = Setting[T]{Value: value, InForce: true, raw: values[key]}
	}
	v.source = Disk
	return notes
}

// show makes what was seeded known.
func (v *view[T]) show() {
	if len(v.settings) > 0 {
		v.known = true
	}
}

// replace takes a complete list.
func (v *view[T]) replace(l driver.Listing, now time.Time) []note {
	v.answer(now)
	var notes []note
	if l.Revision < v.revision {
		v.gap = true
	}
	listed := make(map[string]bool, len(l.Entries))
	for _, e := range l.Entries {
		listed[e.Key] = true
	}
	var gone []string
	left := 0
	for key, s := range v.settings {
		switch {
		case listed[key]:
			left++
		case !s.Kept:
			gone = append(gone, key)
		}
	}
	slices.Sort(gone)
	for _, key := range gone {
		if v.gap && len(gone)+len(v.missing) > left {
			s := v.settings[key]
			s.Kept = true
			v.settings[key], v.missing[key] = s, v.answering
			notes = append(notes, note{kind: kept, key: key, revision: s.Revision})
			continue
		}
		notes = append(notes, v.remove(key)...)
	}
	for _, e := range l.Entries {
		notes = append(notes, v.put(e)...)
	}
	v.gap, v.revision = false, l.Revision
	return append(notes, v.age()...)
}

// change takes what a watch reported, in order. A removal that was watched is meant.
func (v *view[T]) change(changes []driver.Change, now time.Time) []note {
	v.answer(now)
	var notes []note
	for _, c := range changes {
		if c.Entry == nil {
			notes = append(notes, v.remove(c.Key)...)
		} else {
			notes = append(notes, v.put(*c.Entry)...)
		}
	}
	return append(notes, v.age()...)
}

// fail says that the engine did not answer. Nothing is taken away.
func (v *view[T]) fail() {
	v.lastAnswer = time.Time{}
	v.gap = true
	if v.source == Live {
		v.source = Stale
	}
}

func (v *view[T]) answer(now time.Time) {
	if !v.lastAnswer.IsZero() {
		v.answering += now.Sub(v.lastAnswer)
	}
	v.lastAnswer = now
	v.known, v.source = true, Live
}

func (v *view[T]) ours(key string) error {
	if !strings.HasPrefix(key, v.prefix) || v.exact && key != v.prefix {
		return errors.New("not below the prefix")
	}
	return ValidateKey(key)
}

// put takes a document of the engine's.
func (v *view[T]) put(e driver.Entry) []note {
	if v.exact && e.Key != v.prefix {
		return nil
	}
	old, had := v.settings[e.Key]
	delete(v.missing, e.Key)
	if !old.Kept && old.Refused != nil && old.RefusedRevision == e.Revision && bytes.Equal(old.refused, e.Value) {
		return nil // listed again
	}
	if err := v.ours(e.Key); err != nil || !had && len(v.settings) >= maxSettings {
		return []note{{kind: ignored, key: e.Key, revision: e.Revision, err: err}}
	}
	s := old
	s.Kept, s.Refused, s.RefusedRevision, s.refused = false, nil, 0, nil
	if old.InForce && e.Err == nil && bytes.Equal(old.raw, e.Value) {
		s.Revision = e.Revision
		v.settings[e.Key] = s
		if old.Refused == nil && !old.Kept {
			return nil // listed again, or put again
		}
		return []note{{kind: applied, key: e.Key, revision: e.Revision}}
	}
	value, err := v.accept(e)
	if err != nil {
		s.Refused, s.RefusedRevision, s.refused = err, e.Revision, e.Value
		v.settings[e.Key] = s
		return []note{{refused, e.Key, e.Revision, err}}
	}
	v.settings[e.Key] = Setting[T]{Value: value, InForce: true, Revision: e.Revision, raw: e.Value}
	return []note{{kind: applied, key: e.Key, revision: e.Revision}}
}

func (v *view[T]) accept(e driver.Entry) (T, error) {
	if e.Err != nil {
		var none T
		return none, e.Err
	}
	if len(e.Value) > driver.MaxValue {
		var none T
		return none, errors.New("larger than a setting may be")
	}
	return v.read(e.Key, e.Value)
}

// read calls decode, whose panic is a refusal: one document must not end all processes that follow its key.
func (v *view[T]) read(key string, value []byte) (T, error) {
	var out T
	err := lifecycle.Recover(func() (err error) {
		out, err = v.decode(key, value)
		return err
	})
	return out, err
}

func (v *view[T]) remove(key string) []note {
	s, had := v.settings[key]
	delete(v.settings, key)
	delete(v.missing, key)
	if !had {
		return nil
	}
	return []note{{kind: removed, key: key, revision: s.Revision}}
}

// age lets go of what the engine has gone on without for long enough.
func (v *view[T]) age() []note {
	var notes []note
	for _, key := range slices.Sorted(maps.Keys(v.missing)) {
		if v.answering-v.missing[key] >= v.keepFor {
			notes = append(notes, note{kind: confirmed, key: key, revision: v.settings[key].Revision})
			delete(v.settings, key)
			delete(v.missing, key)
		}
	}
	return notes
}

// set returns what is to be published.
func (v *view[T]) set() Set[T] {
	return Set[T]{Settings: maps.Clone(v.settings), Source: v.source}
}

// values returns what the copy on disk should hold.
func (v *view[T]) values() map[string][]byte {
	out := make(map[string][]byte, len(v.settings))
	for key, s := range v.settings {
		if s.InForce {
			out[key] = s.raw
		}
	}
	return out
}
