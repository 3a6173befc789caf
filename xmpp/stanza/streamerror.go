package stanza

import (
	"errors"
	"strconv"
)

// StreamError ends a stream (RFC 6120 §4.9).
type StreamError struct {
	Condition string
	Text      string   // for people, may be empty
	App       *Element // the condition in an application's own terms (RFC 6120 §4.9.4), nil for none
}

// NewStreamError makes one.
func NewStreamError(condition, text string) *StreamError {
	return &StreamError{Condition: condition, Text: text}
}

// AckedTooMuch is for a peer that acknowledges h stanzas when sent were sent, both as XEP-0198 §4 counts.
func AckedTooMuch(h, sent uint32) *StreamError {
	e := NewStreamError("undefined-condition", "more acknowledged than sent")
	e.App = NewElement("urn:xmpp:sm:3", "handled-count-too-high", "h", strconv.FormatUint(uint64(h), 10), "send-count", strconv.FormatUint(uint64(sent), 10))
	return e
}

func (e *StreamError) Error() string { return "stream error " + e.Condition + ": " + e.Text }

// AppendXML appends the error in a stream whose content namespace is ns. With declares it says both namespaces itself, as where each element is a
// document of its own (RFC 7395 §3.3).
func (e *StreamError) AppendXML(b []byte, ns string, declares bool) []byte {
	b = append(b, "<stream:error"...)
	if declares {
		b = AppendAttr(AppendAttr(b, "xmlns:stream", NSStream), "xmlns", ns)
	}
	b = NewElement(NSStreams, e.Condition).AppendXML(append(b, '>'), ns)
	if e.Text != "" {
		b = TextElement(NSStreams, "text", e.Text, "xml:lang", "en").AppendXML(b, ns)
	}
	if e.App != nil {
		b = e.App.AppendXML(b, ns)
	}
	return append(b, "</stream:error>"...)
}

// Closing is the error and the end of a stream whose content namespace is ns.
func (e *StreamError) Closing(ns string) []byte {
	return append(e.AppendXML(nil, ns, false), "</stream:stream>"...)
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
