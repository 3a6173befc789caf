package gf128

import (
	"math/rand/v2"
	"testing"
)

func random(r *rand.Rand) Element { return Element{r.Uint64(), r.Uint64()} }

var one = Element{hi: 1 << 63}

func TestField(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := Element{hi: 1 << 62}
	for range 200 {
		a, b, c := random(r), random(r), random(r)
		if a.Mul(b) != b.Mul(a) || a.Mul(b).Mul(c) != a.Mul(b.Mul(c)) || a.Mul(b.Add(c)) != a.Mul(b).Add(a.Mul(c)) {
			t.Fatal("not a ring:", a, b, c)
		}
		if a.Mul(one) != a || a.Mul(a.Inverse()) != one {
			t.Fatal("no inverse:", a)
		}
		if a.OverX().Mul(x) != a {
			t.Fatal("a/x·x is not a:", a)
		}
	}
}

// x^128 is x^7 + x^2 + x + 1.
func TestModulus(t *testing.T) {
	p := one
	for range 128 {
		p = p.Mul(Element{hi: 1 << 62})
	}
	if p != (Element{hi: 0xe1 << 56}) {
		t.Fatalf("%x", p)
	}
}
