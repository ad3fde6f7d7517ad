//go:build race

package store_test

// The race detector makes every state ten times as dear.
const (
	raceDetector = true
	killRounds   = 4
)
