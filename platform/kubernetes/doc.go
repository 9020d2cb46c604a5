// Package kubernetes writes what a system file says as objects of Kubernetes.
package kubernetes
