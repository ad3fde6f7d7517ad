package web

import (
	"fmt"
	"strconv"
	"time"
)

// clientRow is a place in the table of clients. Clients come and go, the
// places stay: an empty one is not shown.
type clientRow struct {
	Name cell
	Rest []cell
}

func (r clientRow) each(put func(cell)) {
	put(r.Name)
	for _, c := range r.Rest {
		put(c)
	}
}

const (
	clientsShown = 32 // the JSON has more
	clientsStep  = 8  // places come in such steps
)

// clientRows words the clients; none without any.
func clientRows(all []Client, now time.Time) []clientRow {
	shown := all[:min(len(all), clientsShown)]
	places := (len(shown) + clientsStep - 1) / clientsStep * clientsStep
	rows := make([]clientRow, places)
	for i := range rows {
		c := Client{}
		if i < len(shown) {
			c = shown[i]
		}
		rows[i] = clientPlace("clients/"+strconv.Itoa(i), c, now)
		if i >= len(shown) {
			rows[i].clear()
		}
	}
	return rows
}

func (r *clientRow) clear() {
	r.Name.Text = ""
	for i := range r.Rest {
		r.Rest[i].Text, r.Rest[i].State = "", ""
	}
}

func clientPlace(key string, c Client, now time.Time) clientRow {
	name := shortened(c.ID)
	if c.User != "" {
		name += ", user " + shortened(c.User)
	}
	state := cell{key + "/state", "away", ""}
	if c.Connected {
		state.Text, state.State = "connected, MQTT "+c.Version, "good"
	}
	if !c.Since.IsZero() {
		state.Text += ", " + span(now.Sub(c.Since))
	}
	waiting := "–"
	if c.QueuedMessages > 0 || c.QueuedBytes > 0 {
		waiting = fmt.Sprintf("%s, %s", plural(c.QueuedMessages, "message"), sized(c.QueuedBytes))
	}
	dropped := cell{key + "/dropped", grouped(c.Dropped), ""}
	if c.Dropped > 0 {
		dropped.State = "warn"
	}
	return clientRow{
		Name: cell{key + "/name", name, ""},
		Rest: []cell{
			state,
			{key + "/from", shortened(c.Address), ""},
			{key + "/subscriptions", grouped(c.Subscriptions), ""},
			{key + "/waiting", waiting, ""},
			dropped,
			{key + "/received", grouped(c.Received), ""},
			{key + "/sent", grouped(c.Sent), ""},
		},
	}
}
