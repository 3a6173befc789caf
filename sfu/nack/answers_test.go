package nack

import "testing"

func TestAnswers(t *testing.T) {
	var a Answers
	const ms, wait = int64(1e6), int64(300e6)
	for _, c := range []struct {
		at   int64 // ms
		seq  uint16
		want bool
	}{
		{0, 0, true}, // before anything, also that with the number 0
		{0, 0, false},
		{10, 7, true},
		{50, 7, false},
		{300, 0, true}, // the answer is lost, too
		{309, 7, false},
		{310, 7, true},
		{350, 0, false},
		{360, 7 + answersKept, true}, // takes its place
		{370, 7, true},
	} {
		if got := a.Due(c.at*ms, c.seq, wait); got != c.want {
			t.Errorf("%d at %d ms: %v", c.seq, c.at, got)
		}
	}
	for range 2 {
		if !a.Due(400*ms, 9, 0) {
			t.Error("without a round trip every request is answered")
		}
	}
}
