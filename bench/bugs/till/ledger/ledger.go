package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
	"github.com/holdfast-go/holdfast/rest"
)

// work is how long a sale takes after it is written: so long is there an answer that can get lost.
const work = 100 * time.Millisecond

type ledger struct{ store *kv.Store }

// putRegister writes {"value": …}.
func (l *ledger) putRegister(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Value json.Number `json:"value"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		rest.Error(w, r, failure.Wrap(err, failure.InvalidArgument, "no value"))
		return
	}
	if _, err := l.store.Put(r.Context(), "register/"+r.PathValue("key"), []byte(body.Value)); err != nil {
		rest.Error(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// getRegister answers {"value": …}, with 0 where nothing was written.
func (l *ledger) getRegister(w http.ResponseWriter, r *http.Request) {
	item, ok, err := l.store.Get(r.Context(), replica.Linearizable, "register/"+r.PathValue("key"))
	if err != nil {
		rest.Error(w, r, err)
		return
	}
	value := json.Number("0")
	if ok {
		value = json.Number(item.Value)
	}
	answer(w, http.StatusOK, map[string]any{"value": value})
}

// sell writes a sale of {"ref": …}: another one each time that it is called.
func (l *ledger) sell(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Ref string `json:"ref"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Ref == "" || strings.Contains(body.Ref, "/") {
		rest.Error(w, r, failure.New(failure.InvalidArgument, "no ref"))
		return
	}
	id := rand.Text()
	if _, err := l.store.Put(r.Context(), "sale/"+body.Ref+"/"+id, nil); err != nil {
		rest.Error(w, r, err)
		return
	}
	select {
	case <-time.After(work):
	case <-r.Context().Done():
	}
	answer(w, http.StatusCreated, map[string]string{"id": id})
}

// sale answers 200 if there is that one.
func (l *ledger) sale(w http.ResponseWriter, r *http.Request) {
	_, ok, err := l.store.Get(r.Context(), replica.Linearizable, "sale/"+r.PathValue("ref")+"/"+r.PathValue("id"))
	if err == nil && !ok {
		err = failure.New(failure.NotFound, "no such sale")
	}
	if err != nil {
		rest.Error(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"id": r.PathValue("id")})
}

// sales answers {"sales": […]} with the IDs of those of a ref.
func (l *ledger) sales(w http.ResponseWriter, r *http.Request) {
	prefix := "sale/" + r.URL.Query().Get("ref") + "/"
	view, err := l.store.View(r.Context(), replica.Linearizable)
	if err != nil {
		rest.Error(w, r, err)
		return
	}
	ids := []string{}
	for item := range view.Prefix(prefix) {
		ids = append(ids, strings.TrimPrefix(item.Key, prefix))
	}
	answer(w, http.StatusOK, map[string][]string{"sales": ids})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone is nobody to tell
}
