package bridge

import (
	"bytes"

	"sluice/mqttcore/packet"
)

// viaProperty is the user property that marks where a message went through,
// for links with Config.Via.
const viaProperty = "sluice-via"

// viaMark is the property of Config.Via as it stands in a PUBLISH.
func viaMark(via string) []byte {
	p := packet.Properties{User: []packet.UserProperty{{Key: []byte(viaProperty), Value: []byte(via)}}}
	return listOf(&p)
}

// listOf encodes properties without the length that comes before them.
func listOf(p *packet.Properties) []byte {
	list := p.Append(nil)
	for list[0] >= 0x80 {
		list = list[1:]
	}
	return list[1:]
}

// wasHere tells whether a message went through this link before.
func (l *Link) wasHere(props []byte) bool { return len(l.mark) > 0 && bytes.Contains(props, l.mark) }

// marked returns the properties that a message goes up with, where they are not
// its own alone, in memory of the forwarder.
func (f *forwarder) marked(props []byte) []byte {
	if !f.l.cfg.MarkUp {
		return props
	}
	f.props = append(append(f.props[:0], props...), f.l.mark...)
	return f.props
}
