package natsqueue

import "slices"

// plan says what a member of an ordered group should do about its lanes, from what it has heard: give some up, and how
// many to take of those that nobody has. All members follow the same rule, each by itself; what two of them try to take
// at the same time one of them gets.
//
//   - Everybody may have lanes/members of them, and as many members as there are left over one more.
//   - Whoever has more gives up at once. Whoever has one more gives it up only if somebody has less than the least.
//
// others are how many lanes each of the other members has.
func plan(lanes, mine int, others []int) (give, take int) {
	members := len(others) + 1
	least := lanes / members
	most := least
	if lanes%members > 0 {
		most++
	}
	poor := slices.ContainsFunc(others, func(n int) bool { return n < least })
	switch {
	case mine > most:
		return mine - most, 0
	case mine == most && most > least && poor && leftOver(lanes, mine, others, least):
		return 1, 0
	}
	return 0, most - mine
}

// leftOver reports whether more members have one more than there are lanes left over.
func leftOver(lanes, mine int, others []int, least int) bool {
	n := 0
	for _, have := range append([]int{mine}, others...) {
		if have > least {
			n++
		}
	}
	return n > lanes%(len(others)+1)
}
