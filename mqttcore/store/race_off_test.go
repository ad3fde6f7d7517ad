//go:build !race

package store_test

const (
	crashStates = 20_000
	flipStep    = 7
	sweepStep   = 1
	killRounds  = 20
)
