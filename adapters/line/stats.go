package line

import "time"

// Stats is what a line has measured. Counters count since the start of the
// program and never go back.
type Stats struct {
	Name   string
	Kind   Kind
	Port   string
	Open   bool
	Reason string    // why it is not open, "" while it is
	Since  time.Time // of the last change of Open

	Opens    uint64 // times the port was opened, the first included
	Failures uint64 // attempts to open that failed

	Requests uint64
	Answers  uint64 // requests with a valid answer
	Timeouts uint64 // requests on which nothing usable came in time
	Checksum uint64 // answers whose checksum was wrong
	Short    uint64 // answers that broke off
	Mismatch uint64 // answers of another unit, function or length
	Noise    uint64 // times the line would not fall silent before a request
	Late     uint64 // answers that came after nobody waited for them any more
	Garbage  uint64 // bytes thrown away
	Rejected uint64 // jobs refused because their lane was full
	BytesOut uint64
	BytesIn  uint64
	Busy     time.Duration // time the wire was taken by requests, answers and the silences they need
	Load     float64       // Busy as a share of the last 10 s, 0 to 1
	Waiting  [2]int        // jobs waiting now, by Lane
	P50, P99 time.Duration // from request to answer, over the last 512 answers
}
