package measure

import (
	"math"
	"slices"
)

// Spread tells where the values of repeated rounds lie. Low and High bound the median with the given Confidence, by order statistics: no
// distribution is assumed, and few rounds give a wide interval or little confidence rather than a false one.
type Spread struct {
	N          int     `json:"n"`
	Median     float64 `json:"median"`
	Min        float64 `json:"min"`
	Max        float64 `json:"max"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence"` // 0..1
}

// wantedConfidence is what Low..High aims at. Five rounds give 0.9375 at most (min to max), six give 0.969.
const wantedConfidence = 0.95

// NewSpread orders values; the zero Spread for none.
func NewSpread(values []float64) Spread {
	n := len(values)
	if n == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	s := Spread{N: n, Min: v[0], Max: v[n-1], Median: (v[(n-1)/2] + v[n/2]) / 2}
	// The k-th smallest and k-th largest of n hold the median between them unless fewer than k values lie on one side of it: a binomial
	// tail with p = 1/2. The largest k that keeps the wanted confidence gives the narrowest interval.
	k, conf := 1, 1-2*binomialBelow(n, 1)
	for j := 2; j <= n/2; j++ {
		c := 1 - 2*binomialBelow(n, j)
		if c < wantedConfidence {
			break
		}
		k, conf = j, c
	}
	s.Low, s.High, s.Confidence = v[k-1], v[n-k], max(conf, 0)
	return s
}

// binomialBelow is the chance that fewer than k of n fair coins show heads.
func binomialBelow(n, k int) float64 {
	p, term := 0.0, math.Pow(0.5, float64(n))
	for i := range k {
		p += term
		term *= float64(n-i) / float64(i+1)
	}
	return p
}

// Relative is the distance from Min to Max as a share of the median, 0 without values.
func (s Spread) Relative() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.Max - s.Min) / s.Median
}
