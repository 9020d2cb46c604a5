package consulregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// seen is the entry that Consul answers for what was registered.
func seen(d definition) entry {
	e := entry{Node: node{Node: "n1", Address: "10.9.9.9"}, Service: service{
		ID: d.ID, Service: d.Name, Tags: d.Tags, Address: d.Address, Port: d.Port, Meta: d.Meta, Weights: d.Weights, ModifyIndex: 7,
		TaggedAddresses: maps.Clone(d.TaggedAddresses),
	}, Checks: []check{{"serfHealth", passing}, {"service:x", passing}}}
	if e.Service.TaggedAddresses != nil { // which agents add by themselves
		e.Service.TaggedAddresses["lan_ipv4"] = address{d.Address, d.Port}
		e.Service.TaggedAddresses["wan_ipv4"] = address{d.Address, d.Port}
	}
	return e
}

// TestRecordFormat pins what is registered: other software reads it.
func TestRecordFormat(t *testing.T) {
	d, err := encode("x-orders", driver.Record{
		Instance: driver.Instance{
			Service: "orders", ID: "1", Endpoints: map[string]string{"http": "[fd00::1]:2", "grpc": "10.0.0.1:1"},
			Zone: "z", Version: "v", Weight: 2, Metadata: map[string]string{"team": "red", "a.b": "c", "zone": "own"},
		},
		Owner: "me",
	}, written{"LEASE", 3})
	if err != nil {
		t.Fatal(err)
	}
	d.Check = &checkDefinition{CheckID: "service:x-orders:1:LEASE", Name: "alive", TTL: "10s", Status: passing, DeregisterCriticalServiceAfter: "1m0s"}
	b, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "ID": "x-orders:1",
 "Name": "x-orders",
 "Address": "10.0.0.1",
 "Port": 1,
 "Tags": [
  "grpc",
  "http"
 ],
 "TaggedAddresses": {
  "grpc": {
   "Address": "10.0.0.1",
   "Port": 1
  },
  "http": {
   "Address": "fd00::1",
   "Port": 2
  }
 },
 "Meta": {
  "holdfast-lease": "LEASE.3",
  "holdfast-metadata-0": "{\"a.b\":\"c\",\"zone\":\"own\"}",
  "holdfast-owner": "me",
  "team": "red",
  "version": "v",
  "zone": "z"
 },
 "Weights": {
  "Passing": 2,
  "Warning": 1
 },
 "Check": {
  "CheckID": "service:x-orders:1:LEASE",
  "Name": "alive",
  "Notes": "",
  "TTL": "10s",
  "Status": "passing",
  "DeregisterCriticalServiceAfter": "1m0s"
 }
}`
	if string(b) != want {
		t.Errorf("registered is\n%s\nwant\n%s", b, want)
	}
	i := decode("orders", "x-orders", seen(d))
	if i.err != nil || i.dead || i.written != (written{"LEASE", 3}) || i.rec.ID != "1" || i.rec.Owner != "me" || i.rec.Metadata["zone"] != "own" {
		t.Errorf("read back: %+v", i)
	}
}

// TestRoundTrip: any record that package registry allows is refused for a reason, or comes back as it was.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 20, 600)
		rec := driver.Record{
			Instance: driver.Instance{
				Service: "orders", ID: rapid.StringMatching(`[ -.0-~é]{1,40}`).Draw(t, "id"),
				Endpoints: rapid.MapOfN(rapid.SampledFrom([]string{"grpc", "http", "admin", "wan"}),
					rapid.SampledFrom([]string{"10.0.0.1:1", "[::1]:65535", "host.example:80", "h:http"}), 1, 3).Draw(t, "endpoints"),
				Zone: text.Draw(t, "zone"), Version: text.Draw(t, "version"), Weight: rapid.IntRange(1, 70_000).Draw(t, "weight"),
				Metadata: rapid.MapOfN(rapid.OneOf(rapid.StringMatching(`[a-z-]{1,12}`), text), text, 0, 100).Draw(t, "metadata"),
			},
			Owner: "me",
		}
		d, err := encode("orders", rec, written{"l", 1})
		if err != nil {
			return
		}
		if len(d.Meta) > maxMetaPairs {
			t.Fatalf("%d values of Meta", len(d.Meta))
		}
		for k, v := range d.Meta {
			if len(k) > maxMetaKey || len(v) > maxMetaValue || strings.HasPrefix(k, "consul-") {
				t.Fatalf("Consul would refuse %q = %q", k, v)
			}
		}
		i := decode("orders", "orders", seen(d))
		if len(rec.Metadata) == 0 {
			rec.Metadata = nil
		}
		if i.err != nil || !sameRecord(i.rec, rec) {
			t.Fatalf("%+v became %+v: %v", rec, i.rec, i.err)
		}
	})
}

func sameRecord(a, b driver.Record) bool {
	return a.Service == b.Service && a.ID == b.ID && a.Owner == b.Owner && a.Zone == b.Zone && a.Version == b.Version &&
		a.Weight == b.Weight && a.Draining == b.Draining && maps.Equal(a.Endpoints, b.Endpoints) && maps.Equal(a.Metadata, b.Metadata)
}

// TestMuchMetadata: what is more than Consul takes as Meta is packed, until it does not fit at all.
func TestMuchMetadata(t *testing.T) {
	for n, fits := range map[int]bool{10: true, 60: true, 61: true, 500: true, 5000: false} {
		rec := driver.Record{Owner: "me", Instance: driver.Instance{Service: "s", ID: "1", Endpoints: map[string]string{"grpc": "h:1"}, Metadata: map[string]string{}}}
		for i := range n {
			rec.Metadata[fmt.Sprintf("key-%d", i)] = "välue"
		}
		d, err := encode("s", rec, written{"l", 1})
		if (err == nil) != fits {
			t.Errorf("%d: %v", n, err)
		}
		if err == nil {
			if i := decode("s", "s", seen(d)); i.err != nil || !maps.Equal(i.rec.Metadata, rec.Metadata) {
				t.Errorf("%d: %d came back, %v", n, len(i.rec.Metadata), i.err)
			}
		}
	}
}

func TestWhatConsulCannotHold(t *testing.T) {
	good := driver.Instance{Service: "s", ID: "1", Endpoints: map[string]string{"grpc": "h:1"}}
	for want, change := range map[string]func(*driver.Instance){
		"no endpoint":     func(i *driver.Instance) { i.Endpoints = nil },
		"with a number":   func(i *driver.Instance) { i.Endpoints = map[string]string{"grpc": "h:grpc"} },
		"Consul's own":    func(i *driver.Instance) { i.Endpoints = map[string]string{"lan": "h:1"} },
		"weight 65536":    func(i *driver.Instance) { i.Weight = 65536 },
		"zone, version":   func(i *driver.Instance) { i.Zone = strings.Repeat("z", 600) },
		"does not fit":    func(i *driver.Instance) { i.Metadata = map[string]string{"k": strings.Repeat("v", 40_000)} },
		"missing port in": func(i *driver.Instance) { i.Endpoints = map[string]string{"grpc": "h"} },
	} {
		i := good
		change(&i)
		if _, err := encode("s", driver.Record{Instance: i, Owner: "me"}, written{"l", 1}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestForeignServices: what other software registers is read as it is meant.
func TestForeignServices(t *testing.T) {
	for name, c := range map[string]struct {
		json string
		want string // endpoints, zone, version, weight, draining, metadata; or an error
	}{
		"consul CLI, nothing said": {
			`{"Node":{"Node":"n1","Address":"10.0.0.9"},"Service":{"ID":"web","Service":"web","Port":80,"Weights":{"Passing":1,"Warning":1}},"Checks":[]}`,
			`n1/web map[grpc:10.0.0.9:80 http:10.0.0.9:80] "" "" 1 false map[]`,
		},
		"tag": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"h","Port":80,"Tags":["HTTP","canary"],"Meta":{"team":"red","zone":"z","version":"3"}}}`,
			`n1/web map[http:h:80] "z" "3" 0 false map[team:red]`,
		},
		"protocol in Meta": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"::1","Port":80,"Meta":{"protocol":"grpc"}}}`,
			`n1/web map[grpc:[::1]:80] "" "" 0 false map[protocol:grpc]`,
		},
		"kratos": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"10.0.0.1","Port":8000,"Tags":["version=v2"],"TaggedAddresses":{
				"grpc":{"Address":"grpc://10.0.0.1:9000?isSecure=false","Port":9000},"http":{"Address":"http://10.0.0.1:8000","Port":8000},
				"lan_ipv4":{"Address":"10.0.0.1","Port":8000}}}}`,
			`n1/web map[grpc:10.0.0.1:9000 http:10.0.0.1:8000] "" "v2" 0 false map[]`,
		},
		"named ports": {
			`{"Node":{"Node":"n1","Address":"h"},"Service":{"ID":"web","Ports":[{"Name":"http","Port":80,"Default":true},{"Name":"metrics","Port":81}]}}`,
			`n1/web map[http:h:80 metrics:h:81] "" "" 0 false map[]`,
		},
		"warning": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"h","Port":80,"Tags":["http"],"Weights":{"Passing":10,"Warning":2}},"Checks":[{"CheckID":"a","Status":"passing"},{"CheckID":"b","Status":"warning"}]}`,
			`n1/web map[http:h:80] "" "" 2 false map[]`,
		},
		"service maintenance": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"h","Port":80,"Tags":["http"]},"Checks":[{"CheckID":"_service_maintenance:web","Status":"critical"}]}`,
			`n1/web map[http:h:80] "" "" 0 true map[]`,
		},
		"node maintenance": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"h","Port":80,"Tags":["http"]},"Checks":[{"CheckID":"_node_maintenance","Status":"critical"}]}`,
			`n1/web map[http:h:80] "" "" 0 true map[]`,
		},
		"critical": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"h","Port":80},"Checks":[{"CheckID":"serfHealth","Status":"critical"}]}`, "none",
		},
		"critical in maintenance": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"h","Port":80},"Checks":[{"CheckID":"_node_maintenance","Status":"critical"},{"CheckID":"x","Status":"critical"}]}`, "none",
		},
		"no port":    {`{"Node":{"Node":"n1","Address":"h"},"Service":{"ID":"web"}}`, "port 0"},
		"no address": {`{"Node":{"Node":"n1"},"Service":{"ID":"web","Port":80}}`, "port 80"},
		"no id":      {`{"Node":{"Node":"n1","Address":"h"},"Service":{"Port":80}}`, "no id"},
		"ours, garbled": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web:1","Address":"h","Port":80,"Meta":{"holdfast-lease":"garbage"}}}`, "holdfast-lease",
		},
		"ours, without an owner": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web:1","Address":"h","Port":80,"Meta":{"holdfast-lease":"l.1"}}}`, "no owner",
		},
		"another's Meta that looks like ours": {
			`{"Node":{"Node":"n1"},"Service":{"ID":"web","Address":"h","Port":80,"Tags":["http"],"Meta":{"holdfast-lease":"l.1"}}}`,
			`n1/web map[http:h:80] "" "" 0 false map[holdfast-lease:l.1]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var e entry
			if err := json.Unmarshal([]byte(c.json), &e); err != nil {
				t.Fatal(err)
			}
			l := listing("web", "web", []entry{e}, 1)
			got := "none"
			switch {
			case len(l.Unreadable) == 1:
				if got = l.Unreadable[0].Err.Error(); strings.Contains(got, c.want) {
					return
				}
			case len(l.Records) == 1:
				r := l.Records[0]
				got = fmt.Sprintf("%s %v %q %q %d %v %v", r.ID, r.Endpoints, r.Zone, r.Version, r.Weight, r.Draining, r.Metadata)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestListing: of two records of one ID the one written last counts, if it is alive; foreign services of one ID on two
// nodes are two.
func TestListing(t *testing.T) {
	own := func(nodeName, addr string, index uint64, status string) entry {
		d, err := encode("web", driver.Record{Owner: "me", Instance: driver.Instance{Service: "web", ID: "1", Endpoints: map[string]string{"grpc": addr}}}, written{"l", 1})
		if err != nil {
			t.Fatal(err)
		}
		e := seen(d)
		e.Node.Node, e.Service.ModifyIndex, e.Checks = nodeName, index, []check{{"c", status}}
		return e
	}
	foreign := func(nodeName string) entry {
		return entry{Node: node{Node: nodeName, Address: "h"}, Service: service{ID: "web", Port: 80}}
	}
	for name, c := range map[string]struct {
		entries []entry
		want    string
	}{
		"later":       {[]entry{own("n1", "a:1", 5, passing), own("n2", "b:1", 9, passing)}, "1=b:1"},
		"earlier":     {[]entry{own("n1", "a:1", 9, passing), own("n2", "b:1", 5, passing)}, "1=a:1"},
		"later, dead": {[]entry{own("n1", "a:1", 5, passing), own("n2", "b:1", 9, critical)}, "1=a:1"},
		"foreign":     {[]entry{foreign("n1"), foreign("n2")}, "n1/web=h:80 n2/web=h:80"},
	} {
		var got []string
		for _, r := range listing("web", "web", c.entries, 1).Records {
			got = append(got, r.ID+"="+r.Endpoints["grpc"])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", name, got, c.want)
		}
	}
}

// TestJudge: what the servers have under an ID says whether a registration still holds it.
func TestJudge(t *testing.T) {
	r := &registration{rec: driver.Record{Owner: "me"}, last: written{"mine", 3}}
	mine := func(index uint64) instance {
		return instance{rec: driver.Record{Owner: "me"}, written: written{"mine", 2}, index: index}
	}
	other := func(index uint64) instance {
		return instance{rec: driver.Record{Owner: "other"}, written: written{"theirs", 1}, index: index}
	}
	dead, garbled, older := other(9), other(9), mine(9)
	dead.dead, garbled.err, older.written.lease = true, errors.New("garbled"), "before"
	for name, c := range map[string]struct {
		instances []instance
		want      standing
	}{
		"nothing":                      {nil, unknown},
		"mine":                         {[]instance{mine(5)}, held},
		"mine and a later one":         {[]instance{mine(5), other(9)}, taken},
		"a later one and mine":         {[]instance{other(9), mine(5)}, taken},
		"mine and an earlier one":      {[]instance{other(3), mine(5)}, held},
		"another's alone":              {[]instance{other(3)}, taken},
		"mine and a dead one":          {[]instance{mine(5), dead}, held},
		"a dead one alone":             {[]instance{dead}, unknown},
		"a garbled one":                {[]instance{garbled}, unknown},
		"an older registration's":      {[]instance{older}, unknown},
		"a foreign one, without owner": {[]instance{{rec: driver.Record{}, index: 9}}, unknown},
	} {
		if got := r.judge(c.instances); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// FuzzDecode: whatever Consul answers, each entry is left out, unreadable, or has an address.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`[]`, `null`, `[{}]`,
		`[{"Node":{"Node":"n1","Address":"10.0.0.9"},"Service":{"ID":"web","Port":80},"Checks":[{"CheckID":"a","Status":"warning"}]}]`,
		`[{"Node":{"Node":"n"},"Service":{"ID":"web:1","Address":"h","Port":1,"TaggedAddresses":{"grpc":{"Address":"h","Port":1}},"Meta":{"holdfast-lease":"l.1","holdfast-owner":"o","holdfast-metadata-0":"{\"a\":\"b\"}"},"Weights":{"Passing":3}}}]`,
		`[{"Node":{"Node":"n"},"Service":{"ID":"web","TaggedAddresses":{"grpc":{"Address":"grpc://h:1"}},"Ports":[{"Name":"x","Port":70000}]}}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var entries []entry
		if json.Unmarshal(b, &entries) != nil {
			return
		}
		l := listing("web", "web", entries, 1)
		if len(l.Records)+len(l.Unreadable) > len(entries) {
			t.Fatalf("%d entries became %+v", len(entries), l)
		}
		ids := make(map[string]bool)
		for _, r := range l.Records {
			if r.ID == "" || ids[r.ID] || r.Weight < 0 || len(r.Endpoints) == 0 || len(r.Endpoints) > maxEndpoints+2 {
				t.Fatalf("record %+v", r)
			}
			ids[r.ID] = true
			for protocol, addr := range r.Endpoints {
				if protocol == "" || addr == "" {
					t.Fatalf("record %+v", r)
				}
			}
		}
	})
}
