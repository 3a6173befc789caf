package rtp

// Error is a reason why bytes are not a packet. The values are constants, so that returning one does not allocate.
type Error string

// Error implements error.
func (e Error) Error() string { return "rtp: " + string(e) }

// Reasons for which Header.Parse and Walk refuse bytes.
const (
	ErrShort     Error = "packet is shorter than its header says"
	ErrVersion   Error = "version is not 2"
	ErrPadding   Error = "padding is longer than the payload"
	ErrExtension Error = "header extension is longer than the packet"
	ErrRTCP      Error = "RTCP length is wrong"
)
