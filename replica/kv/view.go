package kv

import (
	"iter"
	"strings"

	"github.com/tidwall/btree"
)

// View is all of a store at one revision. It does not change, costs memory only for what is overwritten while it is held,
// and is safe for concurrent use. Pages of a long list that must fit together come from one View.
type View struct {
	items    *btree.Map[string, *Item]
	revision uint64
	bytes    int64
}

// Revision is the last one that the view has.
func (v *View) Revision() uint64 { return v.revision }

// Len is how many keys there are.
func (v *View) Len() int { return v.items.Len() }

// Get returns the item of a key, and whether there is one.
func (v *View) Get(key string) (Item, bool) {
	item, ok := v.items.Get(key)
	if !ok {
		return Item{}, false
	}
	return *item, true
}

// Prefix returns the items whose keys begin with prefix, in the order of the keys' bytes; "" is all.
func (v *View) Prefix(prefix string) iter.Seq[Item] { return v.ascend(prefix, prefix, "") }

// Range returns the items with from ≤ key < to, in the order of the keys' bytes. An empty to is no bound.
func (v *View) Range(from, to string) iter.Seq[Item] { return v.ascend(from, "", to) }

func (v *View) ascend(from, prefix, to string) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		v.items.Ascend(from, func(key string, item *Item) bool {
			return strings.HasPrefix(key, prefix) && (to == "" || key < to) && yield(*item)
		})
	}
}
