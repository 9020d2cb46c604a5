// Package admission decides which calls a server begins with, so that one with too much to do says no early and at little
// cost, instead of saying nothing in time to anybody.
//
// A [Controller] stands in front of the handlers of a server. [Controller.Admit] lets a call begin at once, has it wait
// its turn, or refuses it; [Ticket.Done] says how it ended. The servers of packages rpc and rest have one each, on by
// default; without load all of it is a few hundred nanoseconds and decides nothing.
//
// In this order a call meets
//
//   - the quota of its tenant, a token bucket ([Quota]): QUOTA;
//   - its deadline: one that has passed, and while others wait one that leaves less time than half of the calls of its
//     kind take, is DEADLINE_EXCEEDED;
//   - the limit of calls in progress. Above it calls wait, the more critical first, and of equally critical ones first
//     attempts before repetitions; the longest waiting first, or under pressure the last to come, because what has
//     waited long is hardly worth beginning any more (adaptive LIFO, Facebook 2015). Under pressure, which is when for
//     a tenth of a second there were always some waiting, some of them for long, and more come than are let in, calls
//     wait no longer than calls take (CoDel's idea): SHED;
//   - when its turn comes, its deadline again, with a margin: one that would be missed by one in twenty calls of
//     its kind is not begun. Dropping only what has already expired would not end an overload.
//
// # How the limit is found
//
// Without overload there is none. How many calls a server can have in progress is known to nobody, and what can be
// measured is ambiguous: that calls take longer may mean that they wait for each other inside, or for somebody else.
// Shedding in the second case turns away what would have been done, and gains nothing. So the limit does not follow a
// latency that was remembered as the right one, which drifts in a long overload and is wrong when a dependency becomes
// slow, and it does not look at the CPU, which says nothing about a service that waits for others. It is found by
// experiment, and only what comes of changing the number of calls in progress counts.
//
// If calls become more and at the same time four times slower than they were, or many are given up at their deadlines,
// the number in progress is capped for a moment, at two fifths. If as much gets done as before, the others only waited
// inside: there is overload, and the limit is 1.5 times the throughput (of now) times the latency (with fewer in
// progress), which by Little's law is how many calls are worked on, and half as many in reserve. If less gets done,
// they wait for something else: nothing was refused, the cap is off, and the next experiment is a second or more away.
// A limit that turns calls away is checked: above it every second, which costs nothing, and below it every ten. One
// that turns nobody away for a second is raised, and in the end dropped.
//
// Only calls that were done count as throughput, and those that failed after about as long as calls take; what fails at
// once is no work, and makes the limit neither higher nor lower.
//
// What this does not do: it is one limit for the server, so kinds of calls that exhaust something of their own (a pool of
// connections) take the others with them; give those a limit of their own. Calls that the Go scheduler has not
// got round to yet wait in front of it, unseen; those which have waited too long there are found by their deadlines.
//
// The decisions are values in, values out, with the time passed in; what waits is a thin shell around them.
package admission
