//go:build !linux

package turnload

import (
	"errors"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func newEngine(*Config, *recorder, *hdrhistogram.Histogram) (engine, error) {
	return nil, errors.New("turnload: the load engine needs Linux (recvmmsg, UDP_SEGMENT, epoll)")
}
