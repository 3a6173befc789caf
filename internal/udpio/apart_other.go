//go:build !linux

package udpio

// handle is the second socket of a Conn, which other systems do not have.
type handle struct{}

// SendApart does nothing: what it saves is Linux's.
func SendApart([]*Conn) error { return nil }

func (c *Conn) closeSender() {}
