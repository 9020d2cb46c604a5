// Package embed runs the engines of the control plane inside this process, as components: an
// etcd member today. An embedded server is no driver: the ordinary client dials it.
package embed
