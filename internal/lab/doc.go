// Package lab tests whole servers in a network of their own: Konzil beside Konzil and beside other XMPP servers, with names, certificates, kills and cuts.
//
// The tests run again as a process with a network namespace and a mount namespace (network_test.go), where the loopback device has an address for each
// server, dnsmasq answers for the zones, and /etc/resolv.conf names it. Nothing of it is seen outside, and it ends with the process. That needs
// root on Linux, ip and dnsmasq; without them the tests say so and are skipped.
//
//   - kill_test.go: servers, clients and the links between servers are killed at random under load; what was sent, archived and received is
//     compared. KONZIL_KILL=5m makes it long (make kill).
//   - interop_test.go, ejabberd_test.go: federation with Debian's prosody and ejabberd, by two slixmpp clients (testdata/federate.py).
//   - component_test.go: a slixmpp component.
package lab
