// Package netns gives each instance of a system a network namespace of its own, and routes packets between them in user
// space: the network of a system as machines would have it, on one, where every packet can be lost, delayed or turned away.
//
// A [Network] is a TUN device in each namespace and one in that of the platform; a [Switch] reads packets from them and
// writes them to others, and [Rule] says what becomes of some on the way. What a process does with its sockets does not
// matter, nor in which language it is written: a partition here is one to TCP, retransmissions and all.
//
// [Network] is for Linux, as root. All of it is gone with the process that made it, however that ends: nothing of it is
// kept by the kernel for anybody else. The rest is for every platform.
package netns
