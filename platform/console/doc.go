// Package console is the page that shows and steers a running system in a browser: the system as a live graph, its instances,
// calls and why they failed, groups and locks, queues and dead letters, policies, logs and what happened when.
//
// [Handler] serves it. The page is files of this package, embedded: plain HTML, CSS and ES modules without a framework and
// without a build step. It asks nothing of any other server, and talks to the control API of the server that it came from
// alone (package control); what it may do there, that API decides.
//
// Nothing that comes from the system is ever put into the page as HTML: the scripts make text nodes and elements, and the
// page's Content-Security-Policy demands trusted types, of which it has none.
package console
