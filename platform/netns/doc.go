// Package netns runs each instance of a system in a network namespace of its own, behind a switch in user space that can lose, delay and cut. It is for Linux, as root.
package netns
