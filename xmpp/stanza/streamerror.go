package stanza

import "errors"

// StreamError ends a stream (RFC 6120 §4.9). Text, for people, may be empty.
type StreamError struct{ Condition, Text string }

// NewStreamError makes one.
func NewStreamError(condition, text string) *StreamError { return &StreamError{condition, text} }

func (e *StreamError) Error() string { return "stream error " + e.Condition + ": " + e.Text }

// Closing is the error and the end of a stream whose content namespace is ns.
func (e *StreamError) Closing(ns string) []byte {
	b := NewElement(NSStreams, e.Condition).AppendXML([]byte("<stream:error>"), ns)
	if e.Text != "" {
		b = TextElement(NSStreams, "text", e.Text, "xml:lang", "en").AppendXML(b, ns)
	}
	return append(b, "</stream:error></stream:stream>"...)
}

// StreamErrorOf is the stream error that err is or, for what could not be read, asks for; nil if it is neither.
func StreamErrorOf(err error) *StreamError {
	var se *StreamError
	var xe *SyntaxError
	switch {
	case errors.As(err, &se):
		return se
	case errors.As(err, &xe):
		return NewStreamError(xe.Condition, xe.Text)
	}
	return nil
}
