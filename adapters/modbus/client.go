package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	goburrow "github.com/goburrow/modbus"

	"sluice/adapters/line"
)

// client asks over a line with goburrow's packagers and client. Its transport
// is ours: the library's own takes late answers for present ones and knows no
// silence between frames. A client is used on the line's owner goroutine only.
type client struct {
	api      goburrow.Client
	packager goburrow.Packager
	setUnit  func(unit byte)
	framer   func(request []byte) line.Framer
	numbers  *numbers // of the transactions; nil where frames have none
	candor   candor

	// of the present exchange
	conn    *line.Conn
	timeout time.Duration
	wide    bool   // as in question
	size    int    // bytes of request and answer together
	foreign []byte // the request of another master, whose function read does not know
}

func newClient(kind line.Kind) *client {
	c := &client{}
	switch kind {
	case line.TCP:
		c.numbers = &numbers{}
		packager := goburrow.NewTCPClientHandler("")
		c.setUnit = func(unit byte) { packager.SlaveId = unit }
		c.framer = func(request []byte) line.Framer { return tcpFramer{request, c.wide} }
		c.api, c.packager = goburrow.NewClient2(packager, c), packager
	case line.ASCII, line.ASCIITCP:
		packager := goburrow.NewASCIIClientHandler("")
		c.setUnit = func(unit byte) { packager.SlaveId = unit }
		c.framer = func(request []byte) line.Framer { return asciiFramer{request, c.wide} }
		c.api, c.packager = goburrow.NewClient2(packager, c), packager
	default:
		packager := goburrow.NewRTUClientHandler("")
		c.setUnit = func(unit byte) { packager.SlaveId = unit }
		c.framer = func(request []byte) line.Framer { return rtuFramer{request, c.wide} }
		c.api, c.packager = goburrow.NewClient2(packager, c), packager
	}
	return c
}

// Send implements goburrow's Transporter. What it returns is checked for
// unit, function, length, echo and checksum before goburrow decodes it.
func (c *client) Send(request []byte) ([]byte, error) {
	if c.numbers != nil {
		// goburrow compares the answer's number with the request's.
		binary.BigEndian.PutUint16(request, c.numbers.draw())
	}
	answer, err := c.conn.Exchange(request, c.framer(request), c.timeout)
	c.size = len(request) + len(answer)
	return answer, err
}

// numbers are those of the last transactions. They are drawn, not counted:
// what a confused device or gateway sends unasked must not bear the next one.
type numbers struct {
	used [256]uint16
	at   uint8
}

// draw gives a number that has not been used for long.
func (n *numbers) draw() uint16 {
	for {
		drawn := uint16(rand.Uint32())
		if !slices.Contains(n.used[:], drawn) {
			n.used[n.at] = drawn
			n.at++
			return drawn
		}
	}
}

// read asks q of a unit; the data are valid until the next exchange.
func (c *client) read(conn *line.Conn, unit byte, q question, timeout time.Duration) ([]byte, error) {
	c.conn, c.timeout, c.wide = conn, timeout, q.wide
	c.setUnit(unit)
	var data []byte
	var err error
	switch q.function {
	case readCoils:
		data, err = c.api.ReadCoils(q.address, q.count)
	case readDiscrete:
		data, err = c.api.ReadDiscreteInputs(q.address, q.count)
	case readHolding:
		data, err = c.api.ReadHoldingRegisters(q.address, q.count)
	case readInput:
		data, err = c.api.ReadInputRegisters(q.address, q.count)
	default:
		if data, err = c.pass(conn, unit, c.foreign, timeout); err == nil {
			data = data[2:]
		}
	}
	return data, exception(err)
}

// pass asks with the request of another master and gives the answer, which is
// checked like all others and valid until the next exchange.
func (c *client) pass(conn *line.Conn, unit byte, request []byte, timeout time.Duration) ([]byte, error) {
	c.conn, c.timeout = conn, timeout
	c.setUnit(unit)
	frame, err := c.packager.Encode(&goburrow.ProtocolDataUnit{FunctionCode: request[0], Data: request[1:]})
	if err != nil {
		return nil, err
	}
	if frame, err = c.Send(frame); err != nil {
		return nil, err
	}
	answer, err := c.packager.Decode(frame)
	if err != nil {
		return nil, err
	}
	if answer.FunctionCode == request[0]|exceptionBit {
		return nil, Exception(answer.Data[0])
	}
	return append([]byte{answer.FunctionCode}, answer.Data...), nil
}

// write sets a coil (data is 0 or 1) or registers. several asks for the
// function for many even where there is one.
func (c *client) write(conn *line.Conn, unit byte, table Table, address uint16, data []byte, several bool, timeout time.Duration) error {
	c.conn, c.timeout = conn, timeout
	c.setUnit(unit)
	var err error
	switch {
	case table == Coil && several:
		_, err = c.api.WriteMultipleCoils(address, 1, data)
	case table == Coil:
		_, err = c.api.WriteSingleCoil(address, uint16(data[0])*0xFF00)
	case len(data) == 2 && !several:
		_, err = c.api.WriteSingleRegister(address, binary.BigEndian.Uint16(data))
	default:
		_, err = c.api.WriteMultipleRegisters(address, uint16(len(data)/2), data)
	}
	return exception(err)
}

// Exception is a device's refusal (Modbus Application Protocol V1.1b3, 7).
type Exception uint8

// The exception codes that are treated apart.
const (
	IllegalFunction Exception = 1
	IllegalAddress  Exception = 2
	IllegalValue    Exception = 3
	DeviceFailure   Exception = 4
	Acknowledge     Exception = 5
	Busy            Exception = 6
	ParityError     Exception = 8
	GatewayPath     Exception = 10
	GatewayTarget   Exception = 11
)

var exceptionNames = map[Exception]string{
	IllegalFunction: "illegal function", IllegalAddress: "illegal data address", IllegalValue: "illegal data value",
	DeviceFailure: "device failure", Acknowledge: "acknowledged, not done yet", Busy: "device busy",
	ParityError: "memory parity error", GatewayPath: "gateway path unavailable", GatewayTarget: "no answer behind the gateway",
}

func (e Exception) Error() string {
	if text := e.Name(); text != "" {
		return fmt.Sprintf("the device refuses: %s (exception %d)", text, uint8(e))
	}
	return fmt.Sprintf("the device refuses: exception %d", uint8(e))
}

// Name gives the standard's words for the exception, "" if it has none.
func (e Exception) Name() string { return exceptionNames[e] }

// ofGateway reports whether a gateway speaks for a device that does not answer.
func (e Exception) ofGateway() bool { return e == GatewayPath || e == GatewayTarget }

// exception turns goburrow's exception into ours and leaves other errors.
func exception(err error) error {
	var refused *goburrow.ModbusError
	if errors.As(err, &refused) {
		return Exception(refused.ExceptionCode)
	}
	return err
}
