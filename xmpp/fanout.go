package xmpp

import (
	"net"
	"time"
)

// A presence of a few bytes goes to thousands of contacts, and so does what is published: who sends such things as fast as bytes may come would keep a
// core busy. So a session pays for what it causes before the next stanza is read from its stream, by time (the generic cell rate algorithm,
// ITU-T I.371).

// maxFanoutWait bounds how long a stream is not read for what its session has caused: acknowledgements and pings must get through.
const maxFanoutWait = 10 * time.Second

// Fanout notes that a stanza of the session made the server send n stanzas to others. Who sends to all who watch an account calls it.
func (x *Session) Fanout(n int) { x.caused.Add(int64(n)) }

// payFanout waits for as long as what the session has caused is more than it may. It runs on the stream's goroutine.
func (st *stream) payFanout() error {
	x := st.sess
	if x.caused.Load() == 0 {
		return nil
	}
	l := &st.srv.cfg.Limits
	each := time.Second / time.Duration(l.FanoutRate)
	now := time.Now()
	begin := now.Add(-each * time.Duration(l.FanoutBurst))
	if x.paidUntil.Before(begin) {
		x.paidUntil = begin
	}
	x.paidUntil = x.paidUntil.Add(each * time.Duration(x.caused.Swap(0)))
	wait := x.paidUntil.Sub(now)
	if wait <= 0 {
		return nil
	}
	st.srv.count.fanoutWaits.Add(1)
	if !st.wire.holdOff(min(wait, maxFanoutWait)) {
		return net.ErrClosed
	}
	return nil
}
