// Command ledger keeps sales and registers among its instances, and a journal in etcd that one of them writes at a time.
package main

import (
	"log"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/replica/kv"
)

func main() {
	svc := holdfast.New("ledger", func(c *holdfast.Config) {
		c.Lock.TTL = 3 * time.Second // so that a drill need not wait long for the next one who writes
	})
	host, err := svc.Replicate()
	if err != nil {
		log.Fatal(err)
	}
	store, err := kv.New(host, "ledger", kv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	journal, err := openJournal(svc)
	if err != nil {
		log.Fatal(err)
	}
	l := &ledger{store: store}
	svc.Go("store", store.Run)
	svc.Lead("journal", journal.write)
	svc.HandleFunc("PUT /registers/{key}", l.putRegister)
	svc.HandleFunc("GET /registers/{key}", l.getRegister)
	svc.HandleFunc("POST /sales", l.sell)
	svc.HandleFunc("GET /sales", l.sales)
	svc.HandleFunc("GET /sales/{ref}/{id}", l.sale)
	svc.HandleFunc("GET /journal", journal.judge)
	holdfast.Main(svc)
}
