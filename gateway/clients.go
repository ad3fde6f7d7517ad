package main

import (
	"cmp"
	"slices"

	"sluice/gateway/web"
	"sluice/mqttcore"
)

// clientsTold bounds the list of clients: it is made for each look.
const clientsTold = 100

// clients tells of the broker's clients, first of those that somebody should
// look after.
func (h *health) clients() []web.Client {
	all := h.g.broker.Clients()
	if len(all) > clientsTold {
		need := func(c mqttcore.ClientStats) uint64 { return c.QueuedBytes + c.Dropped }
		slices.SortStableFunc(all, func(a, b mqttcore.ClientStats) int { return cmp.Compare(need(b), need(a)) })
		all = all[:clientsTold]
		slices.SortFunc(all, func(a, b mqttcore.ClientStats) int { return cmp.Compare(a.ID, b.ID) })
	}
	out := make([]web.Client, len(all))
	for i, c := range all {
		out[i] = web.Client{
			ID: c.ID, User: c.User, Address: c.Address, Version: c.Version, Connected: c.Connected, Since: h.g.clock.at(c.Since),
			KeepAliveSeconds: c.KeepAlive.Seconds(), SessionExpirySeconds: c.SessionExpiry.Seconds(),
			Subscriptions: uint64(c.Subscriptions), Inflight: uint64(c.Inflight),
			QueuedMessages: c.QueuedMessages, QueuedBytes: c.QueuedBytes, Dropped: c.Dropped,
			Received: c.PublishReceived, Sent: c.PublishSent, BytesReceived: c.BytesReceived, BytesSent: c.BytesSent,
		}
		if c.SessionExpiry < 0 {
			out[i].SessionExpirySeconds = -1
		}
	}
	return out
}
