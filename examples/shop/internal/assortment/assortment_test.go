package assortment

import (
	"regexp"
	"testing"
)

func TestTheDataFileIsSound(t *testing.T) {
	a, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Products) < 60 {
		t.Errorf("%d products, want at least 60", len(a.Products))
	}
	categories := make(map[string]int)
	for _, c := range a.Categories {
		if c.ID == "" || c.Name == "" {
			t.Errorf("category %+v is not complete", c)
		}
		categories[c.ID] = 0
	}
	seen := make(map[string]bool)
	id := regexp.MustCompile(`^[a-z][a-z0-9-]{1,40}$`)
	for _, p := range a.Products {
		if !id.MatchString(p.ID) || seen[p.ID] {
			t.Errorf("product %q: not an id, or not the only one", p.ID)
		}
		seen[p.ID] = true
		if p.Name == "" || p.Description == "" || p.Motif == "" || p.Price <= 0 || p.Stock < 0 {
			t.Errorf("product %s is not complete: %+v", p.ID, p)
		}
		if _, ok := categories[p.Category]; !ok {
			t.Errorf("product %s: no category %q", p.ID, p.Category)
		}
		categories[p.Category]++
	}
	for c, n := range categories {
		if n == 0 {
			t.Errorf("category %s is empty", c)
		}
	}
}
