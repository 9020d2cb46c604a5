package catalog

import (
	"cmp"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
)

// search returns the products that match all words of query, the better matches first and otherwise in the order of
// products: a word at the beginning of the name counts more than in the name, and that more than in the description.
// An empty query matches everything, an empty category every category.
func search(products []assortment.Product, query, category string) []assortment.Product {
	words := strings.Fields(strings.ToLower(query))
	type hit struct {
		product assortment.Product
		score   int
	}
	var hits []hit
	for _, p := range products {
		if category != "" && p.Category != category {
			continue
		}
		if score, ok := match(p, words); ok {
			hits = append(hits, hit{p, score})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.score, a.score) })
	found := make([]assortment.Product, len(hits))
	for i, h := range hits {
		found[i] = h.product
	}
	return found
}

func match(p assortment.Product, words []string) (score int, ok bool) {
	name, rest := strings.ToLower(p.Name), strings.ToLower(p.Description+" "+p.Category+" "+p.ID)
	for _, word := range words {
		switch {
		case strings.HasPrefix(name, word):
			score += 4
		case strings.Contains(" "+name, " "+word):
			score += 3
		case strings.Contains(name, word):
			score += 2
		case strings.Contains(rest, word):
			score++
		default:
			return 0, false
		}
	}
	return score, true
}
