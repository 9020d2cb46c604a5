package etcdlock

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/etcdmember"
	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// TestLateEnter: a request to enter that is still under way when its ticket has left does nothing when it arrives, and others
// of the session go on.
func TestLateEnter(t *testing.T) {
	t.Parallel()
	d, err := Open(Config{Endpoints: []string{etcdtest.Start(t).Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	opened, err := d.Open(ctx, time.Minute, "")
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*session)
	for round := range 3 {
		id := string(rune('a' + round))
		key := s.key("l", id)
		err := d.cluster.Do(ctx, func(ctx context.Context, m *etcdmember.Session) error {
			late := s.entering(m.KV.Txn(ctx), key, "")
			s.learn(key, func(t *ticket) { t.doubt++ }) // what Enter does before it has an answer
			if err := s.Leave(ctx, "l", id); err != nil {
				return err
			}
			resp, err := late.Commit()
			if err == nil && resp.Succeeded {
				t.Error("a ticket that had left is in the queue")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		// The session's others have to find the guard first.
		s.guard = 0
		if err := s.Enter(ctx, "l", "next"+id, ""); err != nil {
			t.Errorf("Enter after the guard has moved = %v", err)
		}
		if err := s.Wait(ctx, "l", id); !errors.Is(err, driver.ErrGone) {
			t.Errorf("Wait of what left = %v", err)
		}
		if err := s.Leave(ctx, "l", "next"+id); err != nil {
			t.Error(err)
		}
	}
	if len(s.tickets) != 0 {
		t.Errorf("%d tickets are remembered", len(s.tickets))
	}
}

// TestLateEnterOfTwo: that a second request to enter was answered says nothing of the first one, which may come late.
func TestLateEnterOfTwo(t *testing.T) {
	t.Parallel()
	d, err := Open(Config{Endpoints: []string{etcdtest.Start(t).Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	opened, err := d.Open(ctx, time.Minute, "")
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*session)
	key := s.key("l", "a")
	err = d.cluster.Do(ctx, func(ctx context.Context, m *etcdmember.Session) error {
		late := s.entering(m.KV.Txn(ctx), key, "")
		given, up := context.WithCancel(ctx)
		up()
		if err := s.Enter(given, "l", "a", ""); err == nil {
			t.Error("Enter was answered although nobody waited")
		}
		for _, f := range []func() error{
			func() error { return s.Enter(ctx, "l", "a", "") },
			func() error { return s.Leave(ctx, "l", "a") },
		} {
			if err := f(); err != nil {
				return err
			}
		}
		resp, err := late.Commit()
		if err == nil && resp.Succeeded {
			t.Error("a ticket that had left is in the queue")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestParse(t *testing.T) {
	c, err := Parse("etcd://10.0.0.1:2379,[::1]:2380/team/locks/")
	if err != nil || len(c.Endpoints) != 2 || c.Prefix != "team/locks" {
		t.Errorf("got %+v, %v", c, err)
	}
	for url, want := range map[string]string{
		"consul://h:1": "etcd://", "etcd://h": "HOST:PORT", "etcd://me:secret@h:1": "credentials", "etcd://h:1?x=secret": "options",
		"etcd://": "HOST:PORT", "etcd://h:99999": "HOST:PORT",
	} {
		if _, err := Parse(url); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// FuzzRecords: whatever stands in etcd, a holder is one with a token or nobody, and a token fits where it is stored.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{"", "null", "{}", `{"token":7,"name":"a","value":"b"}`, `{"token":-1}`, "123", "-1", "99999999999999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := decodeHolder(b)
		if h.Token == 0 && h != (driver.Holder{}) {
			t.Errorf("a holder without a token: %+v", h)
		}
		if h.Token != 0 {
			text, err := encodeHolder(h)
			if err != nil {
				t.Fatal(err)
			}
			if again := decodeHolder([]byte(text)); again != h {
				t.Errorf("%+v became %+v", h, again)
			}
		}
		if token := decodeToken(b); token > 1<<63-1 {
			t.Errorf("token %d", token)
		}
	})
}

// FuzzParse: no URL of any form makes Parse fail other than with an error in one line that has no secret in it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"etcd://h:1", "etcd://h:1,h:2/p", "etcd://a@h:1", "etcd://h:1?x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, url string) {
		c, err := Parse(url)
		if err == nil && (len(c.Endpoints) == 0 || strings.HasSuffix(c.Prefix, "/")) {
			t.Errorf("%q: %+v", url, c)
		}
	})
}
