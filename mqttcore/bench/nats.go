package main

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// serveNATS runs a nats-server until standard input ends. Retained and queued
// messages go through JetStream, whose files are in dir; synced says whether
// each write is.
func serveNATS(addr, dir string, synced bool) error {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "bench", Host: host, Port: server.RANDOM_PORT,
		NoSigs: true, NoLog: true, MaxConn: 20000,
		JetStream: true, StoreDir: dir, SyncAlways: synced,
		MQTT: server.MQTTOpts{Host: host, Port: port},
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(startLimit) {
		return errors.New("nats-server is not ready in time")
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	return err
}
