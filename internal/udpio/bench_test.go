package udpio

import (
	"fmt"
	"testing"
)

// BenchmarkExchange sends runs of packets to one receiver and reads them, over loopback: both sides' system calls are in the time of each packet.
func BenchmarkExchange(b *testing.B) {
	for _, run := range []int{1, 2, 8} {
		for _, plain := range []bool{false, true} {
			b.Run(fmt.Sprintf("run=%d/offload=%v", run, !plain), func(b *testing.B) {
				tx, rx := listen(b, Options{NoOffload: plain}), listen(b, Options{NoOffload: plain})
				w, r := tx.NewWriter(), rx.NewReader()
				p := make([]byte, 1200)
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				b.ResetTimer()
				for sent := 0; sent < b.N; sent += run {
					for range run {
						w.Add(rx.LocalAddr(), p)
					}
					w.Flush()
					for got := 0; got < run; {
						pkts, err := r.Read()
						if err != nil {
							b.Fatal(err)
						}
						got += len(pkts)
					}
				}
			})
		}
	}
}
