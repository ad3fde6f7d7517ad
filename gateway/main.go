// Command sluice is an edge gateway: it polls Modbus and UART devices, serves
// their readings from its own MQTT broker and relays them upstream through a
// durable queue. This package is the only one that knows both sensors and MQTT.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"sluice/gateway/cli"
)

func main() {
	// Before anything else: a signal that comes during start-up is not lost.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(cli.Main(ctx, os.Args[1:], run))
}
