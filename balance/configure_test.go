package balance

import "testing"

// An end that was under way when ejection was turned off ejects nobody: there is nobody left who would re-admit it.
func TestNobodyIsEjectedOnceThatIsOff(t *testing.T) {
	b, v := in(Config{}, 2)
	n := v.Nodes()[1]
	for range 50 {
		b.Done(v.Nodes()[0], epoch, epoch, Latency, Good)
		n.count(epoch, Bad)
		n.ended(true)
	}
	n.run.Store(50)
	b.Configure(Config{Ejection: Ejection{Off: true}})
	b.consider(n, epoch)
	b.judge(epoch)
	if n.ejected.Load() || v.Candidates(epoch) != 2 {
		t.Error("it is ejected")
	}
	b.Configure(Config{})
	if b.consider(n, epoch); !n.ejected.Load() {
		t.Error("it is no case for ejection")
	}
}

// The subset changes while the connections stay: nodes are judged among those of the new one at once.
func TestALiveSubsetIsJudgedAtOnce(t *testing.T) {
	b, v := in(Config{Subset: 1, Seed: 1}, 4)
	b.Configure(Config{})
	if n := v.Candidates(epoch); n != 4 || len(b.reach) != 4 {
		t.Fatalf("%d candidates, %d of them judged", n, len(b.reach))
	}
	b.Configure(Config{Subset: 2})
	if n := v.Candidates(epoch); n != 2 || len(b.reach) != 2 || b.reach[0].spare || b.reach[1].spare {
		t.Errorf("%d candidates, %d of them judged", n, len(b.reach))
	}
}
