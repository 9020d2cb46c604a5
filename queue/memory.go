package queue

// maxMemories is how many messages that went back to the engine are remembered with their attempts: more than a window.
const maxMemories = 4096

// memory is what is known of a message that went back to the engine, should it come back here. To other instances its
// attempts are one delivery.
type memory struct {
	number                uint64 // of all memories, ever
	started               bool
	known, tries, counted int
	seen                  uint64
	first, last           error
}

// remembered is where a memory is, unless that message has come since, or has a newer one.
type remembered struct {
	id     messageID
	number uint64
}

// remember keeps what is known of a task that goes back to the engine. An attempt of it that has ended here clears it of whatever
// may have become of it before; that it was in hand accounts for the deliveries that were.
func (s *scheduler) remember(t *task) {
	id := messageID{t.m.Source, t.m.ID}
	for len(s.memorder) >= maxMemories {
		if oldest := s.memorder[0]; s.memories[oldest.id].number == oldest.number {
			delete(s.memories, oldest.id)
		}
		s.memorder = s.memorder[1:]
	}
	if !id.known() {
		return
	}
	known := t.d.Count
	if t.tries == 0 {
		known = min(t.known+len(t.same)+1, t.d.Count)
	}
	s.memcount++
	s.memories[id] = memory{s.memcount, t.started, known, t.tries, t.counted, t.seen, t.first, t.last}
	s.memorder = append(s.memorder, remembered{id, s.memcount})
}
