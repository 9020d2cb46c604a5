//go:build !unix

package control

import "io/fs"

// Where files have no mode, the directory of the user's cache is what keeps others out.
func owned(fs.FileInfo) bool   { return true }
func private(fs.FileInfo) bool { return true }
func gone(int) bool            { return false }
