package etcdregistry

import (
	"maps"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// TestRecordFormat pins the bytes: other software reads them.
func TestRecordFormat(t *testing.T) {
	for want, rec := range map[string]driver.Record{
		`{"Op":0,"Addr":"10.0.0.1:1","Metadata":{"holdfast":{"endpoints":{"grpc":"10.0.0.1:1","http":"10.0.0.1:2"},"zone":"z","version":"v","weight":2,"draining":true,"owner":"me"},"team":"red"}}`: {
			Instance: driver.Instance{
				Service: "orders", ID: "1", Endpoints: map[string]string{"grpc": "10.0.0.1:1", "http": "10.0.0.1:2"},
				Zone: "z", Version: "v", Weight: 2, Draining: true, Metadata: map[string]string{"team": "red"},
			},
			Owner: "me",
		},
		`{"Op":0,"Addr":"h:2","Metadata":{"holdfast":{"endpoints":{"http":"h:2","zzz":"h:1"}}}}`: {
			Instance: driver.Instance{Service: "orders", ID: "1", Endpoints: map[string]string{"http": "h:2", "zzz": "h:1"}},
		},
	} {
		b, err := encode(rec)
		if err != nil || string(b) != want {
			t.Errorf("encode = %s, %v\nwant %s", b, err, want)
		}
		got, err := decode("orders", "1", b)
		if err != nil || !sameRecord(got, rec) {
			t.Errorf("decode(%s) = %+v, %v", b, got, err)
		}
	}
}

// TestForeignRecords: what other software writes is read as far as it makes sense.
func TestForeignRecords(t *testing.T) {
	for value, meta := range map[string]map[string]string{
		`{"Op":0,"Addr":"h:1","Metadata":null}`:                           nil,
		`{"Op":0,"Addr":"h:1"}`:                                           nil,
		`{"Op":0,"Addr":"h:1","Metadata":"text"}`:                         nil,
		`{"Op":0,"Addr":"h:1","Metadata":{"zone":"a","n":1,"o":{"x":1}}}`: {"zone": "a"},
	} {
		got, err := decode("orders", "a/b", []byte(value))
		if err != nil || got.ID != "a/b" || got.Endpoints["grpc"] != "h:1" || len(got.Endpoints) != 1 || !maps.Equal(got.Metadata, meta) {
			t.Errorf("decode(%s) = %+v, %v", value, got, err)
		}
	}
}

func TestUnreadableRecords(t *testing.T) {
	for _, value := range []string{
		"", "garbage", "null", "[]", `{"Op":1,"Addr":"h:1"}`, `{"Op":0,"Addr":""}`, `{"Op":0,"Addr":1}`,
		`{"Op":0,"Addr":"h:1","Metadata":{"holdfast":"x"}}`,
		`{"Op":0,"Addr":"h:1","Metadata":{"holdfast":{"endpoints":{"grpc":""}}}}`,
		`{"Op":0,"Addr":"h:1","Metadata":{"holdfast":{"weight":-1}}}`,
		`{"Op":0,"Addr":"` + strings.Repeat("x", maxValue) + `"}`,
	} {
		if rec, err := decode("orders", "1", []byte(value)); err == nil {
			t.Errorf("decode(%.80s) = %+v, want an error", value, rec)
		}
	}
	if _, err := decode("orders", "", []byte(`{"Op":0,"Addr":"h:1"}`)); err == nil {
		t.Error("a key without an id was accepted")
	}
	if _, err := encode(driver.Record{Instance: driver.Instance{Metadata: map[string]string{"holdfast": "x"}}}); err == nil {
		t.Error("reserved metadata was accepted")
	}
}

// FuzzDecode: whatever is in etcd, it is refused or has an address, and can be written again without loss.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"", "null", `{"Op":0,"Addr":"h:1"}`, `{"Op":0,"Addr":"h:1","Metadata":{"k":"v"}}`,
		`{"Op":0,"Addr":"h:1","Metadata":{"holdfast":{"endpoints":{"grpc":"h:1"},"draining":true,"owner":"o"},"k":"v"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decode("orders", "1", b)
		if err != nil {
			return
		}
		if len(rec.Endpoints) == 0 || mainAddr(rec.Endpoints) == "" {
			t.Fatalf("no address in %+v", rec)
		}
		again, err := encode(rec)
		if err != nil {
			return // larger than allowed, once it is spelled out
		}
		twice, err := decode("orders", "1", again)
		if err != nil || !sameRecord(twice, rec) {
			t.Fatalf("%+v became %+v: %v", rec, twice, err)
		}
	})
}

func sameRecord(a, b driver.Record) bool {
	return a.Service == b.Service && a.ID == b.ID && a.Owner == b.Owner && a.Zone == b.Zone && a.Version == b.Version &&
		a.Weight == b.Weight && a.Draining == b.Draining && maps.Equal(a.Endpoints, b.Endpoints) && maps.Equal(a.Metadata, b.Metadata)
}
