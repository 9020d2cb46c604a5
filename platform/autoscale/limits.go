package autoscale

import (
	"cmp"

	"github.com/holdfast-go/holdfast/platform/control"
)

// maxServers bounds the servers of one process that count. It has two.
const maxServers = 4

// limits are the concurrency limits that the servers of a service were last found to have. Admission finds one when a server is
// overloaded and drops it when it is not any more; how many may be handled then is not how many can be. If that were taken for what the
// server can do, those who were just added would be taken away again for their idleness, up to the next overload. What is out of
// date is corrected when a limit is found again. The zero value knows of none.
type limits struct {
	own  map[server]int // of those that are there
	most map[string]int // by protocol: the highest of these, or of those that were; for servers of which none was ever found
}

type server struct{ id, protocol string }

// learn takes note of what was found.
func (l *limits) learn(service string, v view) {
	own, most := make(map[server]int), make(map[string]int)
	for _, i := range v.instances {
		if i.Service != service {
			continue
		}
		if s, ok := v.said(i); ok {
			for _, srv := range servers(s) {
				of := server{i.ID, srv.Protocol}
				own[of] = cmp.Or(max(0, srv.Found), l.own[of])
				if known := cmp.Or(own[of], l.most[srv.Protocol]); srv.Found <= 0 && srv.Waiting == 0 && known > 0 && srv.InFlight > known {
					own[of] = srv.InFlight
				}
			}
			continue
		}
		for of, limit := range l.own {
			if of.id == i.ID {
				own[of] = limit
			}
		}
	}
	for of, limit := range own {
		if limit > most[of.protocol] {
			most[of.protocol] = limit
		}
	}
	for protocol, limit := range l.most {
		if most[protocol] == 0 && len(most) < maxServers {
			most[protocol] = limit
		}
	}
	l.own, l.most = own, most
}

// share is how much of its limit the server of an instance has in use that has most of it in use: it is the one that calls wait
// for. ok is false if no limit is known.
func (l *limits) share(id string, s control.InstanceStats) (share float64, ok bool) {
	if len(s.Servers) == 0 { // it does not tell one from another
		s.Servers = []control.ServerStats{{InFlight: s.InFlight, Waiting: s.Waiting, Limit: s.Limit, Found: s.Limit}}
	}
	for _, srv := range servers(s) {
		limit := srv.Found
		if limit <= 0 {
			limit = min(srv.Limit, cmp.Or(l.own[server{id, srv.Protocol}], l.most[srv.Protocol], srv.Limit))
		}
		if limit > 0 {
			share, ok = max(share, float64(srv.InFlight+srv.Waiting)/float64(limit)), true
		}
	}
	return share, ok
}

func servers(s control.InstanceStats) []control.ServerStats {
	return s.Servers[:min(len(s.Servers), maxServers)]
}
