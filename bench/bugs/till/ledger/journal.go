package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/guard"
	"github.com/holdfast-go/holdfast/lock/guard/etcdguard"
	"github.com/holdfast-go/holdfast/rest"
)

const (
	pages = "till/journal/" // and the number of a page, whose value is the token of who wrote it
	token = "till/journal-token"
)

// journal is pages that one instance writes at a time. It goes about it as most programs do: it looks whether it still
// leads, works for a while, and writes.
type journal struct{ etcd *clientv3.Client }

func openJournal(svc *holdfast.Service) (*journal, error) {
	c, err := clientv3.New(clientv3.Config{
		Endpoints: svc.Settings().EtcdEndpoints, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return svc.Dialer()(ctx, "tcp", address)
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &journal{c}, nil
}

// write writes pages until ctx ends, which it does when another instance may lead.
func (j *journal) write(ctx context.Context) error {
	mine, _ := lock.Token(ctx)
	for n := 0; ctx.Err() == nil; n++ {
		<-time.After(15 * time.Millisecond) // the work. Whoever is stopped here finds out too late
		op := clientv3.OpPut(fmt.Sprintf("%s%d-%d", pages, mine, n), strconv.FormatUint(mine, 10))
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // a write that is under way is not called back
		_, err := etcdguard.Do(late, j.etcd, token, mine, op)
		cancel()
		if errors.Is(err, guard.ErrStale) {
			return err
		}
		// Another error passes, and the page is missing.
	}
	return ctx.Err()
}

// judge answers 200 if every page was written by who had the largest token by then, and 409 if not.
func (j *journal) judge(w http.ResponseWriter, r *http.Request) {
	resp, err := j.etcd.Get(r.Context(), pages, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend))
	if err != nil {
		rest.Error(w, r, failure.Wrap(err, failure.Unavailable, "the journal cannot be read"))
		return
	}
	var largest uint64
	for _, page := range resp.Kvs {
		t, err := strconv.ParseUint(string(page.Value), 10, 64)
		if err != nil {
			rest.Error(w, r, failure.Wrap(err, failure.DataLoss, "page %s", page.Key))
			return
		}
		if t < largest {
			rest.Error(w, r, failure.New(failure.FailedPrecondition, "page %s was written after one of %d, who led later",
				strings.TrimPrefix(string(page.Key), pages), largest))
			return
		}
		largest = t
	}
	if len(resp.Kvs) == 0 {
		rest.Error(w, r, failure.New(failure.FailedPrecondition, "nobody has written a page"))
		return
	}
	answer(w, http.StatusOK, map[string]any{"pages": len(resp.Kvs), "token": largest})
}
