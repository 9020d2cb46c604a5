package replica

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/holdfast-go/holdfast/replica/internal/found"
)

// What another host says of itself is taken as it is meant, or refused.
func FuzzHello(f *testing.F) {
	a, b := found.Member{Name: "a", ID: 1}, found.Member{Name: "b", ID: 2}
	for _, s := range []found.State{
		{},
		{Kind: found.Prepared, Record: found.Record{Cluster: 7, Founder: a, Members: []found.Member{a, b}}},
		{Kind: found.Active, Since: 9, Record: found.Record{Cluster: 7, Founder: b, Members: []found.Member{a, b}}},
	} {
		h, err := json.Marshal(helloGroup{Group: 5, record: newRecord(3, s), Leading: true, Table: []*memberName{{"a", 1}, nil}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var h helloGroup
		if json.Unmarshal(in, &h) != nil {
			return
		}
		p, err := h.peer("x")
		if err != nil {
			return
		}
		again, err := newRecord(p.ID, p.State).state()
		if err != nil {
			t.Fatalf("%+v is taken, and refused when it is passed on: %v", p, err)
		}
		if p.State.Kind == found.Fresh {
			p.State = found.State{}
		}
		if !reflect.DeepEqual(again, p.State) {
			t.Errorf("%+v became %+v", p.State, again)
		}
	})
}
