package control

// Suggest returns the name that was most likely meant by a mistyped one, or "" if none is close: at most one
// typing mistake in names of up to four letters, two in longer ones. A mistake is a letter too many, missing,
// wrong, or two neighbours swapped (optimal string alignment distance; Damerau, CACM 7(3), 1964).
func Suggest(typed string, names []string) string {
	best, bestDistance := "", 3
	for _, name := range names {
		limit := 2
		if len(name) <= 4 {
			limit = 1
		}
		if d := distance(typed, name); d <= limit && d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance works on bytes, which is what names of services are made of.
func distance(a, b string) int {
	if len(a) > maxName || len(b) > maxName {
		return max(len(a), len(b)) // not a typing mistake, and not worth the square
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
