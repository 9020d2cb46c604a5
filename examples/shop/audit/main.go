// Command audit holds the shop's books against the record of a drill: what customers were promised, and what became of it in
// orders, payments, stock, parcels, messages and totals. A drill runs it at its end:
//
//	invariants:
//	  - command: go run ./audit
//
// It reads the calls of the kinds "checkout" and "checkout-*", of which each has a customer of its own, out of
// HOLDFAST_DRILL_RECORD. Those without an answer are repeated, with their keys, at HOLDFAST_EDGE, as their customers would. Then it
// asks the services by HOLDFAST_REGISTRY and HOLDFAST_QUEUE. It says what it looked at, or a line for each thing that is wrong. The
// exit code is 0, 1 if something is wrong, or 2 if it could not tell.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
)

func main() {
	paymentsFail := flag.Bool("payments-fail", false, "any payment may have failed: the drill told the provider to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Stdout, *paymentsFail)
	if err != nil {
		fmt.Fprintln(os.Stderr, "audit:", err)
	}
	stop()
	os.Exit(code)
}

func run(ctx context.Context, out io.Writer, paymentsFail bool) (code int, err error) {
	f, err := os.Open(os.Getenv("HOLDFAST_DRILL_RECORD"))
	if err != nil {
		return 2, fmt.Errorf("the record of a drill: %w", err)
	}
	defer f.Close()
	customers, cards, err := read(f)
	if err != nil {
		return 2, err
	}
	customers.Only, customers.PaymentsFail = true, paymentsFail
	repeated := repeat(ctx, http.DefaultClient, os.Getenv("HOLDFAST_EDGE"), &customers, cards)
	found, took, err := audit.Run(ctx, os.Getenv("HOLDFAST_REGISTRY"), os.Getenv("HOLDFAST_QUEUE"), false, customers)
	if err != nil {
		return 2, err
	}
	wrong := 0
	for _, l := range found.Lists() {
		for _, line := range l.Lines {
			wrong++
			fmt.Fprintf(out, "%s: %s\n", l.Name, line)
		}
	}
	if wrong > 0 {
		return 1, nil
	}
	fmt.Fprintf(out, "%d checkouts: %d acknowledged (%d of them cancelled, since their payment failed), %d refused, %d repeated until they were answered; all is as it was promised, %v later\n",
		found.Checkouts, found.Acknowledged, found.Cancelled, found.Refused, repeated, took.Round(100*time.Millisecond))
	return 0, nil
}

// prefix is what the customers of drills are called: prefix, the run, and a number.
const prefix = "drill-"

// read makes what customers know of a record. cards are those that they paid with, by their names.
func read(r io.Reader) (out audit.Customers, cards map[string]string, err error) {
	byName, names := make(map[string]*audit.Checkout), []string(nil)
	cards = make(map[string]string)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var s load.Sample
			if err := json.Unmarshal(line, &s); err != nil {
				return out, nil, fmt.Errorf("the record of a drill: %w", err)
			}
			name := s.Vars["customer"]
			if (s.Call == "checkout" || strings.HasPrefix(s.Call, "checkout-")) && name != "" {
				if byName[name] == nil {
					quantity, err := strconv.Atoi(s.Vars["quantity"])
					if err != nil {
						return out, nil, fmt.Errorf("the record of a drill: %s of %s is made without a quantity", s.Call, name)
					}
					c := &audit.Checkout{Customer: name, Items: []audit.Item{{Product: s.Vars["product"], Quantity: quantity}}}
					if s.Vars["card"] == shop.CardThatFails { // any other one works
						c.Card = shop.CardThatFails
					}
					byName[name], names, cards[name] = c, append(names, name), s.Vars["card"]
				}
				if note(byName[name], s) {
					out.Changed = append(out.Changed, s.Vars["key"])
				}
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out, nil, fmt.Errorf("the record of a drill: %w", err)
		}
	}
	for _, name := range names {
		out.Checkouts = append(out.Checkouts, *byName[name])
		if run, _, ok := strings.Cut(strings.TrimPrefix(name, prefix), "-"); ok {
			out.Prefix = prefix + run + "-"
		}
	}
	return out, cards, nil
}

// note adds what an answer says, and reports whether it is another order than the one before.
func note(c *audit.Checkout, s load.Sample) (changed bool) {
	switch s.Outcome {
	case load.OK:
		changed = c.Order != "" && c.Order != s.Kept["order"]
		c.Order, c.Final = s.Kept["order"], true
	case load.Refused:
		if forGood(s.Error) {
			c.Final, c.Failed = true, strings.Contains(s.Error, shop.ErrPaymentFailed.Reason)
		}
	case load.Failed:
	}
	return changed
}

// forGood reports whether a refusal says what became of an order, and not only that it is not known yet.
func forGood(says string) bool {
	for _, e := range []*failure.Error{shop.ErrOutOfStock, shop.ErrPaymentFailed, shop.ErrDeclined, shop.ErrGivenUp} {
		if strings.Contains(says, e.Reason) {
			return true
		}
	}
	return false
}
