package cache

import "testing"

// TestBound: no more entries than the bound, whatever is put in; the newest is there.
func TestBound(t *testing.T) {
	c := New[int, int](3)
	for i := range 10 {
		c.Put(i, -i)
		c.Put(i, i) // a key that is there displaces nothing
		if v, ok := c.Get(i); !ok || v != i || len(c.m) > 3 {
			t.Fatalf("%d is %d, %v, of %d", i, v, ok, len(c.m))
		}
	}
	c.Delete(9)
	if _, ok := c.Get(9); ok {
		t.Error("what was deleted is remembered")
	}
}
