package bridge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"sluice/mqttcore/packet"
)

// served returns a conn whose peer sends raw and closes.
func served(t *testing.T, raw []byte) *conn {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		there.Write(raw)
		there.Close()
	}()
	c := newConn(here)
	t.Cleanup(func() { c.Close(); <-done })
	return c
}

func TestConnReadsPacketByPacket(t *testing.T) {
	var raw []byte
	for _, n := range []int{0, 1, 121, 122, 16_000, maxInbound - 20} {
		raw = packet.AppendPublish(raw, packet.V5, "t", bytes.Repeat([]byte("p"), n), &packet.Outgoing{PacketID: 1, QoS: 1})
	}
	c := served(t, raw)
	for _, n := range []int{0, 1, 121, 122, 16_000, maxInbound - 20} {
		cp, err := packets.ReadPacket(c)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(cp.Content.(*packets.Publish).Payload); got != n {
			t.Errorf("payload has %d bytes, want %d", got, n)
		}
	}
	if _, err := packets.ReadPacket(c); !errors.Is(err, io.EOF) || !closedByPeer(c.cause()) {
		t.Errorf("the end is %v, noted as %v", err, c.cause())
	}
}

func TestConnRefusesWhatIsTooLarge(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"above the limit":    {[]byte{3 << 4, 0x80, 0x80, 0x40}, "although we allow"},
		"the largest of all": {[]byte{3 << 4, 0xff, 0xff, 0xff, 0x7f}, "although we allow"},
		"endless length":     {[]byte{3 << 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := served(t, c.raw)
			if _, err := packets.ReadPacket(conn); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("reading gives %v", err)
			}
			if err := conn.cause(); !strings.Contains(err.Error(), c.want) {
				t.Errorf("the noted cause is %v", err)
			}
		})
	}
}

func TestConnKeepsTheFirstCause(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	c := newConn(here)
	first := errors.New("first")
	c.fail(first)
	c.fail(errors.New("second"))
	c.Close()
	if c.cause() != first {
		t.Errorf("the cause is %v", c.cause())
	}
}

// FuzzConnFraming: whatever comes, nothing above the limit is handed on and
// nothing is lost or added.
func FuzzConnFraming(f *testing.F) {
	f.Add([]byte{0x20, 3, 0, 0, 0, 0xd0, 0})
	f.Add([]byte{0x30, 0x80, 0x01, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := newConn(fake{Reader: bytes.NewReader(raw)})
		got, _ := io.ReadAll(c)
		if !bytes.HasPrefix(raw, got) {
			t.Fatalf("read %x of %x", got, raw)
		}
		rest := raw
		for len(rest) > 0 {
			n, size := 0, 0
			for i := 1; i < len(rest) && i < 5; i++ {
				n |= int(rest[i]&0x7f) << (7 * (i - 1))
				if rest[i] < 0x80 {
					size = n + i + 1
					break
				}
			}
			if size == 0 || size > maxInbound || size > len(rest) {
				break
			}
			rest = rest[size:]
		}
		if whole := len(raw) - len(rest); len(got) < whole {
			t.Fatalf("of %d bytes of whole packets only %d were read", whole, len(got))
		}
	})
}

// fake is a connection that only reads.
type fake struct {
	net.Conn
	io.Reader
}

func (f fake) Read(p []byte) (int, error) { return f.Reader.Read(p) }
func (f fake) Close() error               { return nil }
