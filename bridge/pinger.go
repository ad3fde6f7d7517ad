package bridge

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// pinger is paho's pinger with the two things that a link needs besides: it
// never rests, also where the server asks for no keep alive, and its verdict
// is the noted cause of the connection's end.
type pinger struct {
	*paho.DefaultPinger
	conn *conn
	most uint16 // seconds
}

func newPinger(c *conn, keepAlive time.Duration) *pinger {
	return &pinger{DefaultPinger: paho.NewDefaultPinger(), conn: c, most: uint16(keepAlive / time.Second)}
}

// Run implements paho.Pinger. To ping more often than was agreed is allowed
// (MQTT 5.0, 3.1.2.10).
func (p *pinger) Run(ctx context.Context, c net.Conn, keepAlive uint16) error {
	if keepAlive == 0 || keepAlive > p.most {
		keepAlive = p.most
	}
	err := p.DefaultPinger.Run(ctx, c, keepAlive)
	if err != nil {
		err = fmt.Errorf("the upstream is silent: %w", err)
		p.conn.fail(err)
	}
	return err
}
