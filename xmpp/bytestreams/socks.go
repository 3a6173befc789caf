package bytestreams

import (
	"errors"
	"io"
)

// SOCKS5 as XEP-0065 uses it (RFC 1928): no authentication, CONNECT to a domain name that is the 40 hexadecimal digits of a SHA-1.
const (
	socksVersion = 5
	cmdConnect   = 1
	typeDomain   = 3
	noAuth       = 0
	noMethod     = 0xff

	replyOK         = 0
	replyNotAllowed = 2
	replyCommand    = 7
	replyAddress    = 8

	nameLength = 40
)

var errSOCKS = errors.New("bytestreams: this is not SOCKS5 as XEP-0065 wants it")

// handshake reads what stream a connection is for. It reads no byte more than that, and answers nothing but the choice of the method and, where it fails later, the
// failure: the answer to the request is accepted's or refused's.
func handshake(c io.ReadWriter) (name string, err error) {
	var b [255]byte
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return "", err
	}
	if b[0] != socksVersion {
		return "", errSOCKS
	}
	methods := b[:b[1]]
	if _, err := io.ReadFull(c, methods); err != nil {
		return "", err
	}
	method := byte(noMethod)
	for _, m := range methods {
		if m == noAuth {
			method = noAuth
		}
	}
	if _, err := c.Write([]byte{socksVersion, method}); err != nil {
		return "", err
	}
	if method != noAuth {
		return "", errSOCKS
	}
	if _, err := io.ReadFull(c, b[:4]); err != nil {
		return "", err
	}
	switch {
	case b[0] != socksVersion || b[2] != 0:
		return "", errSOCKS
	case b[1] != cmdConnect:
		return "", refused(c, replyCommand)
	case b[3] != typeDomain:
		return "", refused(c, replyAddress)
	}
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return "", err
	}
	if b[0] != nameLength {
		return "", refused(c, replyNotAllowed)
	}
	if _, err := io.ReadFull(c, b[:nameLength+2]); err != nil { // with the port, which is 0 and says nothing
		return "", err
	}
	for i, d := range b[:nameLength] {
		switch {
		case d >= '0' && d <= '9', d >= 'a' && d <= 'f':
		case d >= 'A' && d <= 'F':
			b[i] = d + 'a' - 'A'
		default:
			return "", refused(c, replyNotAllowed)
		}
	}
	return string(b[:nameLength]), nil
}

// refused tells why not and is the error.
func refused(c io.Writer, reply byte) error {
	_, _ = c.Write([]byte{socksVersion, reply, 0, 1, 0, 0, 0, 0, 0, 0}) // the connection is closed in any case
	return errSOCKS
}

// accepted answers with the address that was asked for (XEP-0065 §5.3.2).
func accepted(c io.Writer, name string) error {
	b := append([]byte{socksVersion, replyOK, 0, typeDomain, nameLength}, name...)
	_, err := c.Write(append(b, 0, 0))
	return err
}
