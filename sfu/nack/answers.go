package nack

// answersKept is how many answers are remembered: on a narrow path a second's packets and more.
const answersKept = 256

// Answers remembers what one outgoing stream has answered. A receiver asks again and again while an answer is on its way, each round trip by its own
// reckoning; where a queue has just made the way longer than that, each answer to that would make the queue longer still. The zero value is ready.
type Answers struct {
	ring [answersKept]answer
}

type answer struct {
	at   int64
	seq  uint16
	used bool
}

// Due says whether a request for seq is to be answered now, and notes that it is: not while the last answer may still be on its way, which takes wait ns.
func (a *Answers) Due(now int64, seq uint16, wait int64) bool {
	s := &a.ring[seq%answersKept]
	if s.used && s.seq == seq && now-s.at < wait {
		return false
	}
	*s = answer{now, seq, true}
	return true
}
