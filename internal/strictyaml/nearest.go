package strictyaml

// Nearest returns the candidate that name was most likely meant to be, or "" if none is close: at most one typing
// error (a character missing, added, wrong, or two swapped) per three characters. Of equals the first wins.
func Nearest(name string, candidates []string) string {
	if len(name) > 64 {
		return "" // the distance costs the product of the lengths
	}
	best, limit := "", max(1, len(name)/3)+1
	for _, candidate := range candidates {
		if len(candidate) > 64 {
			continue
		}
		if d := distance([]rune(name), []rune(candidate)); d < limit {
			best, limit = candidate, d
		}
	}
	return best
}

// distance is the optimal string alignment distance.
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
