package orders_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/orders"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/replica"
)

// What the version before this one has left on disks: a snapshot, and commands after it.
const (
	snapshot1 = `{"format":1}
{"order":{"id":"ord-a","customer":"ada","status":"confirmed","chargeable":true,"currency":"EUR","total":100,"lines":[{"product":"mug","name":"Mug","quantity":1,"price":100}],"created":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:04:06Z"},"version":3}
{"order":{"id":"ord-b","customer":"bob","status":"paid","chargeable":true,"currency":"EUR","total":200,"lines":[{"product":"mug","name":"Mug","quantity":2,"price":100}],"created":"2026-01-02T03:05:05Z","updated":"2026-01-02T03:05:06Z"},"version":7}
`
	create1 = `{"format":1,"op":"create","order":{"id":"ord-c","customer":"cy","status":"pending","currency":"EUR","total":100,"lines":[{"product":"mug","name":"Mug","quantity":1,"price":100}],"created":"2026-01-02T03:06:05Z","updated":"2026-01-02T03:06:05Z"}}`
	update1 = `{"format":1,"op":"update","order":{"id":"ord-b","customer":"bob","status":"confirmed","chargeable":true,"currency":"EUR","total":200,"lines":[{"product":"mug","name":"Mug","quantity":2,"price":100}],"created":"2026-01-02T03:05:05Z","updated":"2026-01-02T03:05:07Z"},"version":7}`
)

func TestWhatTheVersionBeforeHasLeftIsRead(t *testing.T) {
	book := orders.NewBook()
	if err := book.Restore(strings.NewReader(snapshot1)); err != nil {
		t.Fatal(err)
	}
	if promised, err := orders.NewStore(groupOf(book)).Promised(t.Context(), nil, 10); err != nil || len(promised) != 1 || promised[0].ID != "ord-b" {
		t.Fatalf("%+v, %v", promised, err)
	}
	w := newWorld()
	for i, text := range []string{create1, update1} {
		var c orders.Command
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if a, err := book.Apply(replica.At{Index: uint64(10 + i)}, c); err != nil || !a.Written {
			t.Fatalf("%s: %+v, %v", text, a, err)
		}
	}
	w.book = groupOf(book)
	all, err := orders.NewStore(w.book).Page(t.Context(), "", 10)
	if err != nil || len(all) != 3 || all[0].Status != orders.Confirmed || all[1].Status != orders.Confirmed || all[2].Status != orders.Pending {
		t.Fatalf("%+v, %v", all, err)
	}
	if left := w.unfinished(t); len(left) != 1 || left[0].ID != "ord-c" {
		t.Fatalf("%+v", left)
	}
	if pending, err := orders.NewOutbox(w.book).Pending(t.Context(), outbox.Query{Limit: 10}); err != nil || len(pending) != 0 {
		t.Fatalf("%+v, %v: nothing of the version before is published", pending, err)
	}
}

func TestACommandOfANewerVersionStopsTheMember(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it went on")
		}
	}()
	_, _ = orders.NewBook().Apply(replica.At{Index: 1}, orders.Command{Format: 3, Op: orders.Sent})
}

func TestASnapshotThatMakesNoSenseIsRefused(t *testing.T) {
	for _, text := range []string{
		``, `{}`, `{"format":3}`, `{"format":2}{}`, `{"format":2}{"order":{"id":""},"version":1}`, `{"format":2}{"order":{"id":"a"}}`,
		`{"format":2}{"event":{"topic":"orders.paid"}}`, `{"format":2,"last":1}{"event":{"topic":"orders.paid"},"number":2}`, `{"format":2}[`,
	} {
		book := orders.NewBook()
		if err := book.Restore(strings.NewReader(text)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

// Numbers name events for good, also when the outbox was empty when it was written down.
func TestTheOutboxComesThroughARestart(t *testing.T) {
	w := newWorld()
	box := orders.NewOutbox(w.book)
	pending := func() []outbox.Event {
		found, err := box.Pending(t.Context(), outbox.Query{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	w.book.Restart = true
	server, _ := w.process(nil)
	if _, err := server.Place(t.Context(), place("one", 0)); err != nil {
		t.Fatal(err)
	}
	first := pending()
	if len(first) != 1 || first[0].Topic != events.OrdersPlaced || first[0].Message.Key == "" ||
		first[0].Message.ID != events.ID(events.OrdersPlaced, first[0].Message.Key) {
		t.Fatalf("%+v", first)
	}
	for range 2 {
		if err := box.Done(t.Context(), []uint64{first[0].Seq, 4711}); err != nil {
			t.Fatal(err)
		}
	}
	if left := pending(); len(left) != 0 {
		t.Fatalf("%+v", left)
	}
	if _, err := server.Place(t.Context(), place("two", 0)); err != nil {
		t.Fatal(err)
	}
	second := pending()
	if len(second) != 1 || second[0].Seq <= first[0].Seq {
		t.Fatalf("%+v after %+v", second, first)
	}
	skip := outbox.Skip{Keys: []outbox.Key{{Topic: second[0].Topic, Key: second[0].Message.Key}}}
	if left, err := box.Pending(t.Context(), outbox.Query{Limit: 10, Skip: skip}); err != nil || len(left) != 0 {
		t.Fatalf("%+v, %v", left, err)
	}
}

// The relay sleeps until there is something to publish, and does not sleep through it.
func TestTheOutboxWakesItsRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		box := orders.NewOutbox(w.book)
		server, _ := w.process(nil)
		woken := make(chan error, 1)
		wait := func() { woken <- box.Wait(t.Context()) }
		go wait()
		synctest.Wait()
		select {
		case err := <-woken:
			t.Fatalf("woken for nothing: %v", err)
		default:
		}
		if _, err := server.Place(t.Context(), place("one", 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		go wait() // what it was woken for was not read yet
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		if found, err := box.Pending(t.Context(), outbox.Query{Limit: 10}); err != nil || len(found) != 1 {
			t.Fatalf("%+v, %v", found, err)
		}
		go wait()
		time.Sleep(time.Minute)
		select {
		case err := <-woken:
			t.Fatalf("woken for what it knows: %v", err)
		default:
		}
		if _, err := server.Place(t.Context(), place("two", 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte(snapshot1))
	f.Add([]byte(`{"format":2,"last":1}{"event":{"topic":"orders.paid","key":"a","data":"YQ=="},"number":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		book := orders.NewBook()
		if book.Restore(bytes.NewReader(b)) != nil {
			return
		}
		s, err := book.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Release()
		var out bytes.Buffer
		if err := s.Write(&out); err != nil {
			t.Fatal(err)
		}
		if err := orders.NewBook().Restore(&out); err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
	})
}
