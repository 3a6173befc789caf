package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Limits of a request's JSON. The codecs and candidates of one participant have some 5 kB and a depth of eight.
const (
	maxBody  = 1 << 20
	maxDepth = 16
)

type object = map[string]any

// parseObject reads one JSON object. Numbers stay as they are written. A key that comes twice is an error: who reads first and who
// reads last would see different requests (RFC 8259 §4).
func parseObject(b []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err = d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	o, ok := v.(object)
	if !ok {
		return nil, errors.New("it is no object")
	}
	return o, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	switch {
	case !ok:
		return t, nil
	case depth == maxDepth:
		return nil, errors.New("it is too deep")
	case delim == '{':
		return members(d, depth)
	}
	var list []any
	for d.More() {
		v, err := value(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err = d.Token()
	return list, err
}

func members(d *json.Decoder, depth int) (any, error) {
	o := object{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string) // the decoder takes nothing else for a key
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("the key %q comes twice", name)
		}
		if o[name], err = value(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return o, err
}
