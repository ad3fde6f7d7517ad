package packet

import (
	"fmt"
	"testing"
)

// benchMessage is a PUBLISH of QoS 1 as a sensor sends it.
func benchMessage(v Version, payload int) []byte {
	return AppendPublish(nil, v, "site7/floor1/meter/voltage_l1", make([]byte, payload), &Outgoing{QoS: 1, PacketID: 7})
}

func BenchmarkDecodePublish(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		for _, payload := range []int{20, 200} {
			b.Run(fmt.Sprintf("%s/%dB", v, payload), func(b *testing.B) {
				raw := benchMessage(v, payload)
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				var p Publish
				for b.Loop() {
					h, n, err := ParseHeader(raw)
					if err != nil {
						b.Fatal(err)
					}
					if err := p.Decode(v, h, raw[n:]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecodePublishProperties(b *testing.B) {
	var list Properties
	list.SetUint(PropPayloadFormat, 1)
	list.SetUint(PropMessageExpiry, 3600)
	list.SetBytes(PropContentType, []byte("application/json"))
	list.User = []UserProperty{{[]byte("unit"), []byte("V")}}
	raw := AppendPublish(nil, V5, "site7/floor1/meter/voltage_l1", make([]byte, 20),
		&Outgoing{QoS: 1, PacketID: 7, Props: list.AppendRaw(nil)})
	b.ReportAllocs()
	var p Publish
	for b.Loop() {
		h, n, _ := ParseHeader(raw)
		if err := p.Decode(V5, h, raw[n:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		for _, payload := range []int{20, 200} {
			b.Run(fmt.Sprintf("%s/%dB", v, payload), func(b *testing.B) {
				body, o := make([]byte, payload), &Outgoing{QoS: 1, PacketID: 7}
				dst := make([]byte, 0, 1024)
				b.ReportAllocs()
				for b.Loop() {
					dst = AppendPublish(dst[:0], v, "site7/floor1/meter/voltage_l1", body, o)
				}
				b.SetBytes(int64(len(dst)))
			})
		}
	}
}

func BenchmarkFrameAppend(b *testing.B) {
	f := NewFrame(V5, "site7/floor1/meter/voltage_l1", make([]byte, 20), &Outgoing{QoS: 1})
	dst := make([]byte, 0, 1024)
	b.SetBytes(int64(f.Size()))
	b.ReportAllocs()
	for b.Loop() {
		dst = f.Append(dst[:0], 7, false)
	}
}

func BenchmarkDecodePuback(b *testing.B) {
	body := []byte{0, 7}
	var a Ack
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Decode(V5, Header{Type: PUBACK, Remaining: 2}, body); err != nil {
			b.Fatal(err)
		}
	}
}
