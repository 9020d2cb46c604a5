// Package autoscale keeps the number of instances of services where their policies want it: it looks at a running system
// twice a second, asks package scale, and does what that says.
//
//	what is looked at                          where from
//	who is ready, starting, missing            the supervisor's states; frozen, crashed and crash-looping is missing
//	in-flight, limiter                         what the processes say of themselves, not older than 3 s
//	cpu                                        the kernel (Linux): of the whole process group of an instance; otherwise what
//	                                           the processes say; over the last 2 s
//	lag                                        the engine of messages, every 2 s
//	custom                                     each instance's HTTP endpoint, every second: a number as text
//	whether this machine has anything left     the processor time of all processes of the system
//
// What cannot be found out is unknown, and what is unknown never takes an instance away. A process that does not speak
// to the platform, because it is not Holdfast's, says nothing about in-flight and limiter; cpu, lag and custom work with it.
// One that a shell or another program has started speaks for its instance as long as it is in the process group of that.
//
// # What it remembers
//
// Who has served for half a minute: these are made up for when they are lost. And which concurrency limits the servers of a
// service were found to have: admission drops a limit when nothing is overloaded any more, which says nothing about how
// many calls an instance can handle. Both are forgotten when the platform ends.
//
// # When it does nothing
//
// A number that was set by hand stays until the service is given back ([Scaler.Resume], `holdfast scale SERVICE auto`):
// somebody who acts at night must not be overruled by a loop. While a drill holds the number ([Scaler.Hold]), it stays, too.
// After a step that failed, because what was started keeps crashing, the next one waits: 10 s, doubled each time up to
// 5 min. When the platform is asked to stop, it ends first.
//
// All processes share the processors of one machine. When these are used up, more instances would only divide them further,
// so none is added, which is said once: it is the machine that is too small then, not the number.
package autoscale
