// Package autoscale keeps the number of instances of services where their policies want it.
package autoscale
