//go:build !mutant_double_apply

package core

// mutantDoubleApply applies every repetition of a command: a bug that the simulator must find.
const mutantDoubleApply = false
