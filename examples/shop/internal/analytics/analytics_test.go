package analytics_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/analytics"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tell(ctx context.Context, s *analytics.Service, topic, order string, minor int64) error {
	switch topic {
	case events.OrdersPlaced:
		e, _ := events.New(topic, order, time.Now(), &eventspb.OrderPlaced{Order: order})
		return shoptest.Handle(ctx, e.Message("orders"), s.Placed)
	case events.OrdersPaid:
		e, _ := events.New(topic, order, time.Now(), &eventspb.OrderPaid{
			Order: order, Currency: "EUR", TotalMinor: minor, Lines: []*eventspb.Line{{Product: "mug", Quantity: 2}},
		})
		return shoptest.Handle(ctx, e.Message("orders"), s.Paid)
	}
	e, _ := events.New(topic, order, time.Now(), &eventspb.OrderCancelled{Order: order})
	return shoptest.Handle(ctx, e.Message("orders"), s.Cancelled)
}

// However often messages come, whoever dies over them, over any restart: each is counted once.
func TestAnEventIsCountedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		group := shoptest.NewGroup[*analytics.Tally, analytics.Command, analytics.Counted](analytics.NewTally())
		group.Restart = rapid.Bool().Draw(t, "restarts")
		type event struct {
			topic string
			order int
		}
		counted := make(map[event]bool)
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			e := event{rapid.SampledFrom(events.Topics("orders")).Draw(t, "topic"), rapid.IntRange(1, 3).Draw(t, "order")}
			fault := shoptest.Crash(rapid.IntRange(0, 1).Draw(t, "dies"), rapid.Bool().Draw(t, "after it"))
			_ = tell(t.Context(), analytics.New(group.With(fault)), e.topic, fmt.Sprint("ord-", e.order), int64(e.order))
			// An error may mean that it was counted: it comes again until there is none.
			if err := tell(t.Context(), analytics.New(group), e.topic, fmt.Sprint("ord-", e.order), int64(e.order)); err != nil {
				t.Fatal(err)
			}
			counted[e] = true
		}
		var want analytics.Totals
		want.Revenue, want.Sold = make(map[string]int64), make(map[string]int64)
		for e := range counted {
			switch e.topic {
			case events.OrdersPlaced:
				want.Placed++
			case events.OrdersPaid:
				want.Paid++
				want.Revenue["EUR"] += int64(e.order)
				want.Sold["mug"] += 2
			default:
				want.Cancelled++
			}
		}
		got, err := analytics.New(group).Totals(t.Context(), &analyticspb.TotalsRequest{})
		if err != nil || got.GetPlaced() != want.Placed || got.GetPaid() != want.Paid || got.GetCancelled() != want.Cancelled ||
			!maps.Equal(got.GetRevenue(), want.Revenue) || !maps.Equal(got.GetSold(), want.Sold) {
			t.Fatalf("%v, %v; want %+v", got, err, want)
		}
	})
}

// What it remembers is bounded, and is the newest.
func TestTheOldestEventsAreForgotten(t *testing.T) {
	tally := analytics.NewTallyOf(3)
	apply := func(id string) bool {
		done, err := tally.Apply(replica.At{}, analytics.Command{Format: analytics.Format, ID: id, Count: analytics.Totals{Placed: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return done.Before
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		if apply(id) {
			t.Errorf("%s was counted before", id)
		}
	}
	s, err := tally.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	s.Release()
	if tally = analytics.NewTallyOf(3); tally.Restore(&b) != nil {
		t.Fatal("not read")
	}
	if !apply("b") || !apply("c") || !apply("d") || apply("a") || apply("b") {
		t.Error("it does not remember the newest")
	}
	if ids, numbers := tally.Known(); ids != 3 || numbers != 3 {
		t.Errorf("it remembers %d, %d", ids, numbers)
	}
}

func TestACommandOfANewerVersionStopsTheMember(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it went on")
		}
	}()
	_, _ = analytics.NewTally().Apply(replica.At{}, analytics.Command{Format: analytics.Format + 1})
}

func TestAMessageWithoutAnOrderIsRefused(t *testing.T) {
	s := analytics.New(shoptest.NewGroup[*analytics.Tally, analytics.Command, analytics.Counted](analytics.NewTally()))
	if err := tell(t.Context(), s, events.OrdersPaid, "", 1); failure.CodeOf(err) != failure.InvalidArgument {
		t.Fatal(err)
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(`{"format":1,"totals":{"paid":1},"last":1}"a"`)
	f.Add(`{"format":1,"last":0}"a"`)
	f.Add(`{"format":1,"totals":{"placed":3,"revenue":{"EUR":5}},"last":12}"a" "b" "c"`)
	f.Add(`{"format":2}`)
	f.Fuzz(func(t *testing.T, text string) {
		tally := analytics.NewTallyOf(10)
		if tally.Restore(strings.NewReader(text)) != nil {
			return
		}
		if ids, numbers := tally.Known(); ids > 10 || numbers > 10 {
			t.Fatalf("it remembers %d, %d", ids, numbers)
		}
		if _, err := tally.Apply(replica.At{}, analytics.Command{Format: analytics.Format, ID: "new", Count: analytics.Totals{Placed: 1}}); err != nil {
			t.Fatal(err)
		}
	})
}
