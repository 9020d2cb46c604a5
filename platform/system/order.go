package system

import (
	"slices"
	"strings"
)

// Order returns the names of the services in waves: every service is in a later wave than all that it needs, and as
// early as that allows. Within a wave it is the order of the file.
func (s *System) Order() [][]string {
	waves, _ := order(s.Services)
	return waves
}

// order returns the waves of what can be ordered, and cycles, each as its services in the order of needing. There is at
// least one cycle if there are any; what needs a service of a cycle is in no wave either. Names in services are unique.
func order(services []Service) (waves [][]string, cycles [][]string) {
	needs := make(map[string][]string, len(services))
	for _, svc := range services {
		needs[svc.Name] = svc.Needs
	}
	wave := make(map[string]int, len(services)) // 0: not yet visited
	const visiting, stuck = -1, -2
	var path []string
	var visit func(name string) int
	visit = func(name string) int {
		if _, known := needs[name]; !known {
			return 0 // an unknown name is somebody else's problem
		}
		switch wave[name] {
		case 0:
		case visiting:
			cycles = append(cycles, slices.Clone(path[slices.Index(path, name):]))
			return stuck
		default:
			return wave[name]
		}
		wave[name] = visiting
		path = append(path, name)
		w := 1
		for _, need := range needs[name] {
			switch n := visit(need); {
			case n == stuck || w == stuck:
				w = stuck
			default:
				w = max(w, n+1)
			}
		}
		path = path[:len(path)-1]
		wave[name] = w
		return w
	}
	for _, svc := range services {
		w := visit(svc.Name)
		if w <= 0 {
			continue
		}
		for len(waves) < w {
			waves = append(waves, nil)
		}
		waves[w-1] = append(waves[w-1], svc.Name)
	}
	return waves, cycles
}

// describe writes a cycle as "a needs b needs a".
func describe(cycle []string) string {
	return strings.Join(append(slices.Clone(cycle), cycle[0]), " needs ")
}
