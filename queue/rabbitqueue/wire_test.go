package rabbitqueue

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestWritesDoNotWait: a peer that reads nothing holds up no writer, and gets everything, in order, when it reads.
func TestWritesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		w := newWire(ours)
		defer w.Close()
		var want bytes.Buffer
		for i := range 1000 {
			b := bytes.Repeat([]byte{byte(i)}, 100)
			want.Write(b)
			if n, err := w.Write(b); n != len(b) || err != nil {
				t.Fatal(n, err)
			}
		}
		got := make([]byte, want.Len())
		if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%v, equal %v", err, bytes.Equal(got, want.Bytes()))
		}
	})
}

// TestAReadThatFailsEndsTheWriters: also when they wait for a peer that reads nothing.
func TestAReadThatFailsEndsTheWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		w := newWire(ours)
		if _, err := w.Write([]byte("never read")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the sender hangs
		if err := w.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Read(make([]byte, 1)); err == nil {
			t.Fatal("it reads")
		}
		<-w.closed
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("it writes")
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAClosedWire(t *testing.T) {
	ours, theirs := net.Pipe()
	w := newWire(ours)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the other side: %v", err)
	}
}
