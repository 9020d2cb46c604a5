package registry

import (
	"strings"
	"testing"
	"time"
)

// FuzzDecodeDiskCopy: whatever is in the file, it is refused or gives usable instances that can be written again.
func FuzzDecodeDiskCopy(f *testing.F) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	good, err := encodeDiskCopy("orders", []Instance{
		{Service: "orders", ID: "1", Endpoints: map[string]string{"grpc": "h:1", "http": "h:2"}, Zone: "z", Version: "v", Weight: 2, Metadata: map[string]string{"k": "v"}},
	}, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(strings.Replace(string(good), `"1"`, `""`, 1)))
	f.Add([]byte(`{"version":1,"service":"orders","saved":"2030-01-01T00:00:00Z","instances":[{"id":"1","endpoints":{"":""}}]}`))
	f.Add([]byte(`{"version":1,"service":"orders","saved":"2030-01-01T00:00:00Z","instances":null}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		instances, err := decodeDiskCopy(b, "orders", now)
		if err != nil {
			return
		}
		for _, inst := range instances {
			if err := usable(inst); err != nil || inst.Service != "orders" {
				t.Fatalf("accepted %+v: %v", inst, err)
			}
		}
		again, err := encodeDiskCopy("orders", instances, now)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := decodeDiskCopy(again, "orders", now)
		if err != nil || len(twice) != len(instances) {
			t.Fatalf("%d instances became %d: %v", len(instances), len(twice), err)
		}
	})
}

// TestDiskCopyLeavesOutTheDraining: who was about to leave has left.
func TestDiskCopyLeavesOutTheDraining(t *testing.T) {
	now := time.Now()
	b, err := encodeDiskCopy("orders", []Instance{viewInstance("a"), viewInstance("b~")}, now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeDiskCopy(b, "orders", now)
	if err != nil || len(got) != 1 || got[0].ID != "a" {
		t.Errorf("%+v, %v", got, err)
	}
}
