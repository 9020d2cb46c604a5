package drill

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/system"
)

// What is written for a system can be run as it is.
func TestBegin(t *testing.T) {
	for name, text := range map[string]string{
		"edges": "system: s\nservices: {web: {run: ./web, replicas: 2, http: 127.0.0.1:80}, admin: {run: ./admin, http: 127.0.0.1:81}, store: {run: ./store, replicas: 3}}",
		"grpc":  "system: s\nregistry: etcd://127.0.0.1:2379\nservices: {one: {run: ./one}}",
	} {
		t.Run(name, func(t *testing.T) {
			sys, err := system.Parse("system.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, Dir), 0o755); err != nil {
				t.Fatal(err)
			}
			files := Begin(sys)
			for _, f := range files {
				golden(t, "begin/"+name+"-"+f.Name, f.Text)
				if err := os.WriteFile(filepath.Join(dir, Dir, f.Name), []byte(f.Text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			drills, err := LoadDir(dir)
			if err != nil || len(drills) != len(files) {
				t.Fatalf("%d drills, %v", len(drills), err)
			}
			for _, sc := range drills {
				if len(sc.Load.Calls) == 0 || sc.Expect.Success != 0.9999 {
					t.Errorf("%s has %d calls, expects %+v", sc.Name, len(sc.Load.Calls), sc.Expect)
				}
			}
		})
	}
}

// The drills that were begun stand, whatever load the base is given.
func TestBegunDrillsStandForAnotherBase(t *testing.T) {
	sys, err := system.Parse("system.yaml", []byte("system: s\nservices: {web: {run: ./web, replicas: 2, http: 127.0.0.1:80}, store: {run: ./store, replicas: 3}}"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range Begin(sys) {
		write(f.Name, f.Text)
	}
	write("standard.yaml", "drill: standard\nload: {steps: [{for: 10s, rate: 50}, {for: 5s, from: 50, to: 200}], calls: {home: {get: /}}}\n")
	write("short.yaml", "drill: short\nfor: 12s\nfaults: [{at: 5s, kill: web}]\n")
	drills, err := LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range drills {
		c := sc.complete()
		last := 15 * time.Second
		for _, f := range sc.Faults {
			last = max(last, f.At+f.For+Settle)
		}
		switch sc.Name { // those that say so themselves
		case "short":
			last = 12 * time.Second
		case "random":
			last = time.Minute
		}
		if c.For != last || c.Load.Length() != last {
			t.Errorf("%s lasts %v, its load %v; want %v", sc.Name, c.For, c.Load.Length(), last)
		}
	}
}
