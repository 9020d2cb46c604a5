package sim

import "time"

// network carries messages between members. Each way between two members can be cut by itself.
type network struct {
	w *world

	loss, double float64       // probability for each message
	late         float64       // probability of a message that takes up to a second
	delay        time.Duration // of most messages: from a tenth of it to all of it

	cut map[[2]int]bool // from, to

	sent, lost, doubled int
}

// send plans the arrival of a message, of its double, or nothing. arrive must check that its receiver is there.
func (n *network) send(from, to int, arrive func()) {
	n.sent++
	if n.cut[[2]int{from, to}] || n.w.chance(n.loss) {
		n.lost++
		return
	}
	n.w.after(n.latency(), func() {
		if n.cut[[2]int{from, to}] {
			n.lost++ // cut while it was on its way
			return
		}
		arrive()
	})
	if n.w.chance(n.double) {
		n.doubled++
		n.w.after(n.latency(), arrive)
	}
}

func (n *network) latency() time.Duration {
	if n.w.chance(n.late) {
		return n.w.between(n.delay, time.Second)
	}
	return n.w.between(n.delay/10, n.delay)
}

// split cuts everything between the two sides; oneWay cuts only what side a says.
func (n *network) split(a, b []int, oneWay bool) {
	for _, x := range a {
		for _, y := range b {
			n.cut[[2]int{x, y}] = true
			if !oneWay {
				n.cut[[2]int{y, x}] = true
			}
		}
	}
}

func (n *network) heal() { clear(n.cut) }
