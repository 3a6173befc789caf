package main

import "fmt"

// port is a port of ours, and the setting that says which.
type port struct {
	setting string
	number  int
	on      bool // it is opened, if it is not 0
}

// tcpPorts and udpPorts are what the server opens on its addresses.
func (c *Config) tcpPorts() []port {
	x, f := c.XMPP, c.XMPP.Federation
	return []port{
		{"http.port", c.HTTP.Port, true}, {"xmpp.port", x.Port, true}, {"xmpp.tls_port", x.TLSPort, true},
		{"xmpp.federation.port", f.Port, true}, {"xmpp.federation.tls_port", f.TLSPort, true},
		{"xmpp.components.port", x.Components.Port, len(x.Components.List) > 0}, {"turn.port", c.TURN.Port, true}, {"turn.tls_port", c.TURN.TLSPort, c.TURN.Port != 0},
		{"tls.acme.http_port", c.TLS.ACME.HTTPPort, c.TLS.ACME.Enabled()}, {"media.port", c.Media.Port, c.Media.TCP}, {"proxy.port", c.Proxy.Port, true},
	}
}

func (c *Config) udpPorts() []port {
	return []port{{"media.port", c.Media.Port, true}, {"turn.port", c.TURN.Port, true}}
}

// checkPorts finds numbers that are no ports, and ports that are wanted twice.
func (c *Config) checkPorts() error {
	for _, list := range [][]port{c.tcpPorts(), c.udpPorts()} {
		taken := map[int]string{}
		for _, p := range list {
			switch {
			case p.number < 0 || p.number > 65535:
				return fmt.Errorf("%s: %d is no port: 1 to 65535, or 0 for off", p.setting, p.number)
			case !p.on || p.number == 0:
			case taken[p.number] != "":
				return fmt.Errorf("%s: %d is %s already: give it another, or 0 to turn it off", p.setting, p.number, taken[p.number])
			default:
				taken[p.number] = p.setting
			}
		}
	}
	return nil
}
