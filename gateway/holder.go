package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// withHolder adds to an error of a listener whose address is taken who has it,
// or how to find out.
func withHolder(err error) error {
	var op *net.OpError
	if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &op) {
		return err
	}
	at, ok := op.Addr.(*net.TCPAddr)
	if !ok {
		return err
	}
	if who := holders(listening(at.Port)); len(who) > 0 {
		return fmt.Errorf("%w; it is in use by %s", err, strings.Join(who, ", "))
	}
	return fmt.Errorf("%w; ss -ltnp 'sport = :%d' tells who that is", err, at.Port)
}

// listening gives the sockets that listen on a TCP port, as the links to them
// in /proc are named (proc(5)).
func listening(port int) (sockets []string) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		const local, state, inode, listens = 1, 3, 9, "0A"
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) > inode && fields[state] == listens && strings.HasSuffix(fields[local], fmt.Sprintf(":%04X", port)) {
				sockets = append(sockets, "socket:["+fields[inode]+"]")
			}
		}
		_ = f.Close() // it was read only
	}
	return sockets
}

// holders names the processes that have one of the sockets open, as far as
// this one may know.
func holders(sockets []string) (who []string) {
	if len(sockets) == 0 {
		return nil
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // fails on a bad pattern only
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !slices.Contains(sockets, target) {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil || pid == os.Getpid() {
			continue
		}
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		if text := fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(name)), pid); !slices.Contains(who, text) {
			who = append(who, text)
		}
	}
	return who
}
