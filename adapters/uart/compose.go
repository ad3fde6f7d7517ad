package uart

import (
	"bytes"

	"sluice/adapters"
)

// Wrap makes a frame of its text: with the marks that it has not yet, its
// checksum and its end. It is what a simulated device sends.
func (f *Frame) Wrap(text []byte) []byte {
	frame := []byte{}
	if !bytes.HasPrefix(text, []byte(f.Start)) {
		frame = append(frame, f.Start...)
	}
	frame = append(frame, text...)
	if room := f.Length - len(f.Checksum.Of(nil)); len(frame) < room {
		frame = append(frame, make([]byte, room-len(frame))...)
	}
	frame = append(frame, f.Checksum.Of(frame)...)
	if f.lines() {
		return append(frame, f.until()...)
	}
	return append(frame, f.End...)
}

// Compose makes the frame that holds the values of the points with Binary, by
// their names, as Wrap does. A value that does not fit its type is 0.
func (c *DeviceConfig) Compose(value func(point string) float64) []byte {
	text := []byte(c.Start)
	for _, p := range c.Points {
		b := p.Binary
		if b == nil {
			continue
		}
		if end := b.At + b.Size(); len(text) < end {
			text = append(text, make([]byte, end-len(text))...)
		}
		raw := p.Raw(adapters.Float(value(p.Point.Name)))
		if b.Type == adapters.TypeBool {
			number, _ := raw.Number()
			raw = adapters.Bool(number > 0)
		}
		place := text[b.At : b.At+b.Size()]
		straight := make([]byte, len(place))
		if b.Type.Encode(raw, straight) != nil {
			continue
		}
		b.arrange(place, straight)
	}
	return c.Wrap(text)
}
