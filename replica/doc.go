// Package replica keeps the state of a service on several of its instances, as one state machine that survives the loss
// of a minority of them.
//
// The state is a [Machine]: code that takes commands in an order that Raft (Ongaro and Ousterhout, 2014) agrees on, the
// same on each member. A [Host] is a process's part in it: one write-ahead log, one listener, many groups. A [Group] is
// one machine and its members; [Group.Propose] and [Group.Read] work on any of them.
//
// An answer to Propose means that the command is on the disks of a majority and has been applied: it survives the
// crash of all members and the loss of a minority of the disks. A command that is proposed once is applied once, whoever
// leads meanwhile. While no leader is known callers wait, within their deadline; they see no error of an election.
//
// Read is linearizable unless less is asked for, without a clock's help: there are no lease reads, whose promise ends with
// a clock that runs slow or a process that stands still at the wrong moment. [Stale] and [Eventual] are what costs less.
//
// DESIGN.md in this folder has founding, joining and replacing, what fails and what happens then.
package replica
