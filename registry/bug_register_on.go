//go:build bug_register

package registry

// bugRegister has an instance that has lost its registration not make another one: a bug that a drill must find (go run ./bench/bugs).
const bugRegister = true
