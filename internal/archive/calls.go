package archive

// call is one that somebody asked for, with what became of the message.
type call struct {
	then func(error)
	err  error
}

// callLater hands what a batch brings to callAll; mu is held.
func (a *Archive) callLater(all []func(error), err error) {
	if len(all) == 0 {
		return
	}
	for _, then := range all {
		a.calls = append(a.calls, call{then, err})
	}
	a.toCall.Signal()
}

// callAll makes the calls in order, on a goroutine beside the one that writes: what is called may route a stanza, and a stanza may have to wait until another is
// on disk. It ends when run has ended and all are made. Their number is bounded by mayAppend: with maxPending of them nothing more is taken (refused_total).
func (a *Archive) callAll() {
	defer close(a.called)
	var now []call
	for {
		a.mu.Lock()
		for len(a.calls) == 0 && !a.ended {
			a.toCall.Wait()
		}
		if len(a.calls) == 0 {
			a.mu.Unlock()
			return
		}
		now, a.calls = a.calls, now[:0]
		a.mu.Unlock()
		for _, c := range now {
			c.then(c.err)
		}
		clear(now)
		if cap(now) > maxPending/64 { // a burst's memory is not kept
			now = nil
		}
	}
}
