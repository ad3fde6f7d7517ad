//go:build !race

package store_test

const (
	raceDetector = false
	flipStep     = 7
	sweepStep    = 1
	killRounds   = 20
)
