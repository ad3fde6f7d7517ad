// Package store is the one durable log of the gateway. Messages, the durable
// sessions they are routed to, acknowledgements, subscriptions, wills and
// retained messages all live in it, so that one fdatasync makes a message and
// everything that depends on it durable together.
//
// The package imports nothing of the rest of the module and knows no network.
// FORMAT.md beside this file describes every byte on the disk, the rule that
// makes a commit, the steps of recovery and what is assumed of the disk.
//
// What a caller may rely on:
//
//   - done(nil) is called only after the record is on stable storage.
//   - Deliveries of one session have the sequence numbers 1, 2, 3… in the order
//     of the Append calls, for ever, also across restarts. A queue hands them
//     out in that order. They make deterministic packet identifiers possible:
//     see [PacketID].
//   - Damage is local: a damaged frame loses what is in it, is set aside in
//     quarantine/, counted and logged. It is never a reason not to open.
//   - A loss is a record: every message that a queue gives up is accounted for
//     with range, count and reason, so that for each session
//     appended = delivered + queued + dropped holds at any time.
//   - Memory does not grow with the number of queued messages.
package store
