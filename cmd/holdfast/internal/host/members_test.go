//go:build unix

package host

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

// The members of a data directory are the same at every start, and so is the token of their queue, which stands in no
// command line and no URL.
func TestMembersAreTheSameAtEveryStart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "a b")
	first, err := chooseMembers(data, nil, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(data, "control", "queue-token")
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file is %v, %v", info.Mode(), err)
	}
	again, err := chooseMembers(data, nil, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, again) {
		t.Errorf("%+v and then %+v", first, again)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != string(token) {
		t.Errorf("another token: %v", err)
	}
	secret := strings.TrimSpace(string(token))
	if len(secret) < 16 || strings.Contains(first.queue, secret) {
		t.Errorf("%q is short, or in %s", secret, first.queue)
	}
	for _, m := range first.members {
		if strings.Contains(strings.Join(m.Args, " "), secret) {
			t.Errorf("the token is in %q", m.Args)
		}
	}
	c, err := natsqueue.Parse(first.queue)
	if err != nil || len(c.Servers) != 3 || c.TokenFile != file {
		t.Errorf("%s is %+v, %v", first.queue, c, err)
	}
	without, err := chooseMembers(data, nil, 3, false)
	if err != nil || without.queue != "" || strings.Contains(strings.Join(without.members[0].Args, " "), "--queue") || without.registry != first.registry {
		t.Errorf("without a queue: %+v, %v", without, err)
	}
}

func TestCheckQueue(t *testing.T) {
	for url, want := range map[string]string{
		"nats://127.0.0.1:1,127.0.0.1:2": "",
		"nats://127.0.0.1":               "not HOST:PORT",
		"nats://u:secret@127.0.0.1:1":    "has credentials in it",
		"redis://127.0.0.1:1":            `the scheme "redis" is unknown`,
	} {
		err := checkQueue(url)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", url, err)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: the secret is in %v", url, err)
		}
	}
}
