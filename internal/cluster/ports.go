package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
)

// port is an address that a service will listen on. It is held open until the
// server starts, so that New can report one that is taken and two parts of a
// process never draw the same free one.
type port struct {
	addr netip.AddrPort
	held net.Listener
}

// Free ports are drawn below those that Linux and the IANA give to outgoing
// connections: Temporal binds a port anew after we have released it, and
// somebody's connection could take it in between.
const (
	firstFreePort = 10000
	endFreePort   = 32000
	freePortTries = 100
)

// reserve binds addr; port 0 becomes a free one.
func reserve(addr netip.AddrPort) (*port, error) {
	if addr.Port() == 0 {
		for range freePortTries {
			drawn := netip.AddrPortFrom(addr.Addr(), uint16(firstFreePort+rand.IntN(endFreePort-firstFreePort)))
			if p, err := reserve(drawn); err == nil {
				return p, nil
			}
		}
	}
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	bound, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listener has address %v", l.Addr()), l.Close())
	}
	return &port{addr: netip.AddrPortFrom(addr.Addr(), uint16(bound.Port)), held: l}, nil
}

// release makes room for the service. It may be called again.
func (p *port) release() error {
	if p.held == nil {
		return nil
	}
	l := p.held
	p.held = nil
	return l.Close()
}

// reachable is the address at which this process reaches the port: an
// unspecified address is where to listen, not where to connect.
func (p *port) reachable() string {
	ip := p.addr.Addr()
	switch {
	case ip == netip.IPv4Unspecified():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip == netip.IPv6Unspecified():
		ip = netip.IPv6Loopback()
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(int(p.addr.Port())))
}

// reservePorts binds an address for each service of the process.
func reservePorts(cfg Config) (map[string]*port, error) {
	ports := map[string]*port{}
	var problems []error
	for _, service := range cfg.Services {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
		switch {
		case service == serviceFrontend:
			front, err := parseAddress(cfg.Frontend)
			if err != nil {
				return nil, err
			}
			addr = front
		case cfg.Membership != nil:
			ip, err := netip.ParseAddr(cfg.Membership.BindIP)
			if err != nil {
				return nil, err
			}
			addr = netip.AddrPortFrom(ip, uint16(cfg.Membership.port(service)))
		}
		p, err := reserve(addr)
		if err != nil {
			problems = append(problems, fmt.Errorf("listen for %s on %s: %w", service, addr, err))
			continue
		}
		ports[service] = p
	}
	if len(problems) > 0 {
		return nil, errors.Join(append(problems, releaseAll(ports))...)
	}
	return ports, nil
}

func (m *Membership) port(service string) int {
	if n := m.Ports[service]; n != 0 {
		return n
	}
	return stockPorts[service]
}

func releaseAll(ports map[string]*port) error {
	var problems []error
	for _, p := range ports {
		problems = append(problems, p.release())
	}
	return errors.Join(problems...)
}
