package mqttcore

import (
	"slices"

	"sluice/mqttcore/store"
)

// deliverShared delivers what shared subscriptions get: a copy of its own each
// (MQTT 5.0, 4.8.2). A session may so get several of a message; as a record of
// the store names a session once, the routes of further ones are set aside.
func (r *router) deliverShared(p *publication) {
	for i := range r.picked {
		before := len(r.routes)
		r.deliver(p, &r.picked[i])
		if len(r.routes) == before {
			continue
		}
		last := r.routes[before]
		if slices.ContainsFunc(r.routes[:before], func(o store.Route) bool { return o.Session == last.Session }) {
			r.routes = r.routes[:before]
			r.copies = append(r.copies, last)
		}
	}
}

// appendCopies appends m once for each route that was set aside, before m
// itself is: what is done then goes for them, too. False: the store has no
// room just now; those that it took are not offered again.
func (r *router) appendCopies(m store.Message) bool {
	m.StoreRetained = false
	for len(r.copies) > 0 {
		busy := false
		m.Routes = r.copies[:1]
		r.b.st.Append(&m, func(err error) {
			if err == store.ErrBusy { // said before Append returns
				busy = true
				return
			}
			r.b.logged(err)
		})
		if busy {
			return false
		}
		r.copies = r.copies[1:]
	}
	return true
}
