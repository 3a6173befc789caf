package slots

import "testing"

func TestSlots(t *testing.T) {
	s := New[string](3, 2)
	for _, step := range []struct {
		who  string
		want bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"c", false}} {
		if got := s.Take(step.who); got != step.want {
			t.Errorf("%s: %v", step.who, got)
		}
	}
	if s.Refused() != 2 {
		t.Errorf("%d refused", s.Refused())
	}
	s.Give("a")
	if !s.Take("c") {
		t.Error("a place given back is not free")
	}
	for _, who := range []string{"a", "b", "c"} {
		s.Give(who)
	}
	if len(s.by) != 0 || s.taken != 0 {
		t.Errorf("left over: %v, %d", s.by, s.taken)
	}
}
