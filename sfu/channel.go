package sfu

import (
	"context"
	"net"

	"konzil/sfu/datachan"
)

// runChannel serves the bridge channel over conn: the peer, or with EndpointConfig.ChannelClient we, opens it. It returns when the association ends.
func (e *Endpoint) runChannel(ctx context.Context, conn net.Conn) {
	datachan.Serve(ctx, conn, datachan.Config{
		Client: e.cfg.ChannelClient, MaxMessage: e.conf.s.cfg.MaxMessage, Queue: e.conf.s.cfg.SendQueue, Log: e.log,
		Opened: func(out chan<- []byte) {
			e.outbox.Store(&out)
			e.channel(true)
		},
		Message: func(msg []byte) bool {
			e.sh.count.inc(cChannelIn)
			return e.conf.post(ctx, func() { e.message(msg) })
		},
		Sent: func() { e.sh.count.inc(cChannelOut) },
		Closed: func() {
			e.outbox.Store(nil)
			e.channel(false)
		},
	})
}
