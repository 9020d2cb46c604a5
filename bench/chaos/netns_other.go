//go:build !linux

package main

import "errors"

func newNamespaces(int) (network, error) {
	return nil, errors.New("-netns: network namespaces are Linux's")
}
