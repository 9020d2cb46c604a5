package kv_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/etcdtest"
)

// TestContract runs on each KV: what services are tested with has to behave as what they run on.
func TestContract(t *testing.T) {
	server := etcdtest.Start(t)
	for name, test := range map[string]func(*testing.T, kv.KV){
		"CommitIsAllOrNothing":    testCommitIsAllOrNothing,
		"ListGoesPageByPage":      testListGoesPageByPage,
		"WatchTellsWhatCameAfter": testWatchTellsWhatCameAfter,
		"UpdateLosesNothing":      testUpdateLosesNothing,
		"WhatIsKeptForATimeEnds":  testWhatIsKeptForATimeEnds,
	} {
		t.Run(name+"/memory", func(t *testing.T) { test(t, new(kv.Memory)) })
		t.Run(name+"/etcd", func(t *testing.T) { test(t, openEtcd(t, server)) })
	}
}

func openEtcd(t *testing.T, server *etcdtest.Server) *kv.Etcd {
	t.Helper()
	db, err := kv.OpenEtcd([]string{server.Addr()}, (&net.Dialer{}).DialContext)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func put(t *testing.T, db kv.KV, key string, value any) int64 {
	t.Helper()
	e, err := kv.Put(key, value)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := db.Commit(t.Context(), kv.Txn{Put: []kv.Entry{e}})
	if err != nil || revision == 0 {
		t.Fatalf("put %s: revision %d, %v", key, revision, err)
	}
	return revision
}

func testWhatIsKeptForATimeEnds(t *testing.T, db kv.KV) {
	put(t, db, "kept/always", 1)
	for _, key := range []string{"kept/a", "kept/b"} {
		e, err := kv.Put(key, 1)
		if err != nil {
			t.Fatal(err)
		}
		if revision, err := db.Commit(t.Context(), kv.Txn{Put: []kv.Entry{e}, Keep: time.Second}); err != nil || revision == 0 {
			t.Fatalf("%d, %v", revision, err)
		}
	}
	put(t, db, "kept/b", 2) // it stays, put so
	read := func() string {
		page, err := db.List(t.Context(), kv.Range{Prefix: "kept/"})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range page.Entries {
			keys = append(keys, e.Key)
		}
		return strings.Join(keys, " ")
	}
	if got := read(); got != "kept/a kept/always kept/b" {
		t.Fatalf("at once: %s", got)
	}
	for end := time.Now().Add(20 * time.Second); read() != "kept/always kept/b"; {
		if time.Now().After(end) {
			t.Fatalf("20 s later: %s", read())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// Each lease is a burden to etcd until its end, and so is the end of one that has very many entries.
func TestWhatIsKeptForATimeSharesLeases(t *testing.T) {
	server := etcdtest.Start(t)
	db := openEtcd(t, server)
	for i := range 12 { // 1,200 entries
		var puts []kv.Entry
		for j := range 100 {
			puts = append(puts, kv.Entry{Key: fmt.Sprintf("kept/%d/%d", i, j), Value: []byte("1")})
		}
		if _, err := db.Commit(t.Context(), kv.Txn{Put: puts, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Addr()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if all, err := client.Leases(t.Context()); err != nil || len(all.Leases) != 2 {
		t.Fatalf("%+v, %v; want two leases", all, err)
	}
}

func testCommitIsAllOrNothing(t *testing.T, db kv.KV) {
	first := put(t, db, "a", 1)
	read, err := db.Get(t.Context(), "a", "b")
	if err != nil || read[0].Revision != first || string(read[0].Value) != "1" || read[1].Exists() || read[1].Revision != 0 || read[1].Key != "b" {
		t.Fatalf("%+v, %v", read, err)
	}
	tx := kv.Txn{
		If:     []kv.Condition{read[0].Unchanged(), read[1].Unchanged()},
		Put:    []kv.Entry{{Key: "b", Value: []byte("2")}},
		Delete: []string{"a"},
	}
	revision, err := db.Commit(t.Context(), tx)
	if err != nil || revision <= first {
		t.Fatalf("revision %d, %v", revision, err)
	}
	after, err := db.Get(t.Context(), "a", "b")
	if err != nil || after[0].Exists() || after[1].Revision != revision {
		t.Fatalf("%+v, %v", after, err)
	}
	if revision, err = db.Commit(t.Context(), tx); err != nil || revision != 0 {
		t.Fatalf("the same again: revision %d, %v", revision, err)
	}
}

func testListGoesPageByPage(t *testing.T, db kv.KV) {
	for i := range 5 {
		put(t, db, fmt.Sprintf("p/%d", i), i)
	}
	put(t, db, "q/0", 0)
	var keys []string
	r := kv.Range{Prefix: "p/", Limit: 2}
	for {
		page, err := db.List(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			keys = append(keys, e.Key)
			r.After = e.Key
		}
		if !page.More {
			break
		}
	}
	if got := fmt.Sprint(keys); got != "[p/0 p/1 p/2 p/3 p/4]" {
		t.Fatal(got)
	}
}

func testWatchTellsWhatCameAfter(t *testing.T, db kv.KV) {
	put(t, db, "w/before", 0)
	page, err := db.List(t.Context(), kv.Range{Prefix: "w/"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen, done := make(chan kv.Entry, 10), make(chan error, 1)
	go func() {
		done <- db.Watch(ctx, "w/", page.Revision, func(changes []kv.Entry) {
			for _, e := range changes {
				seen <- e
			}
		})
	}()
	put(t, db, "x/other", 0)
	put(t, db, "w/new", 1)
	if _, err := db.Commit(t.Context(), kv.Txn{Delete: []string{"w/before"}}); err != nil {
		t.Fatal(err)
	}
	if e := <-seen; e.Key != "w/new" || !e.Exists() {
		t.Fatalf("%+v", e)
	}
	if e := <-seen; e.Key != "w/before" || e.Exists() || e.Revision == 0 {
		t.Fatalf("%+v", e)
	}
	cancel()
	if err := <-done; err == nil {
		t.Fatal("a watch that ends has a reason")
	}
}

// Everybody adds 1, many at once, some without learning whether it worked: no more and no less is added than by those
// who were told so, or might have been.
func testUpdateLosesNothing(t *testing.T, db kv.KV) {
	const writers, each = 4, 5
	var mu sync.Mutex
	sure, unsure := 0, 0
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			n := 0
			faulty := shoptest.KV{KV: db, Fault: func(op string) shoptest.Fate {
				if n++; op == "commit" && n%(5+w) == 0 {
					return shoptest.Unknown
				}
				return shoptest.Works
			}}
			for range each {
				err := kv.Update(t.Context(), faulty, func(ctx context.Context) (kv.Txn, error) { return increment(ctx, faulty) })
				mu.Lock()
				if err == nil {
					sure++
				} else {
					unsure++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	read, err := db.Get(t.Context(), "counter")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := read[0].Decode(&n); err != nil || n < sure || n > sure+unsure || sure == 0 || unsure == 0 {
		t.Fatalf("%d, of %d sure and %d unsure; %v", n, sure, unsure, err)
	}
}

func increment(ctx context.Context, db kv.KV) (kv.Txn, error) {
	read, err := db.Get(ctx, "counter")
	if err != nil {
		return kv.Txn{}, err
	}
	n := 0
	if read[0].Exists() {
		if err := read[0].Decode(&n); err != nil {
			return kv.Txn{}, err
		}
	}
	e, err := kv.Put("counter", n+1)
	return kv.Txn{If: []kv.Condition{read[0].Unchanged()}, Put: []kv.Entry{e}}, err
}

// A store that does not answer costs a caller no more than a few seconds, and it is told to come back.
func TestAFrozenStoreIsUnavailableInTime(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	db := openEtcd(t, server)
	put(t, db, "a", 1)
	server.Freeze()
	start := time.Now()
	_, err := db.Get(t.Context(), "a")
	took := time.Since(start)
	if failure.CodeOf(err) != failure.Unavailable || failure.From(err).RetryAfter <= 0 {
		t.Fatalf("%v", err)
	}
	if took < time.Second || took > 10*time.Second {
		t.Fatalf("it took %v", took)
	}

	// Of a caller with little time it is not said that the store is away: it may be one attempt of several.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err = db.Get(ctx, "a"); failure.CodeOf(err) != failure.DeadlineExceeded || failure.From(err).RetryAfter != 0 {
		t.Fatalf("with a deadline of its own: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err = db.Get(ctx, "a"); failure.CodeOf(err) != failure.Canceled {
		t.Fatalf("of a caller that is gone: %v", err)
	}

	// Known to be away, it costs nobody much any more, also after callers who did not wait for the answer.
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(250*time.Millisecond, cancel)
	if _, err = db.Get(ctx, "a"); err == nil {
		t.Fatal("no error")
	}
	start = time.Now()
	if _, err = db.Get(t.Context(), "a"); failure.CodeOf(err) != failure.Unavailable || time.Since(start) > 5*time.Second {
		t.Fatalf("%v after %v", err, time.Since(start))
	}

	server.Thaw()
	for start = time.Now(); ; { // it may say once more that the store is away
		if _, err = db.Get(t.Context(), "a"); err == nil {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("thawed: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestADeadStoreIsUnavailableAndComesBack(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	db := openEtcd(t, server)
	put(t, db, "a", 1)
	server.Stop()
	if _, err := db.Commit(t.Context(), kv.Txn{Delete: []string{"a"}}); failure.CodeOf(err) != failure.Unavailable {
		t.Fatalf("%v", err)
	}
	server.Restart()
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := db.Get(t.Context(), "a")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestWithoutEndpointsNothingOpens(t *testing.T) {
	if _, err := kv.OpenEtcd(nil, (&net.Dialer{}).DialContext); err == nil {
		t.Fatal("no error")
	}
	if err := (kv.Entry{Key: "k", Value: []byte("{")}).Decode(new(int)); !errors.Is(err, failure.DataLoss) {
		t.Fatal(err)
	}
}
