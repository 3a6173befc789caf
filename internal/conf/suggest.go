package conf

import "reflect"

// suggest gives the end of a message about an unknown setting: the nearest name among its neighbours, else a setting of that name
// elsewhere.
func (d *decoder) suggest(known []field, path, name string) string {
	best, bestDistance := "", max(2, len(name)/3)+1
	for _, f := range known {
		if n := distance(name, f.name); n < bestDistance {
			best, bestDistance = f.name, n
		}
	}
	if best != "" {
		return ": is " + join(path, best) + " meant?"
	}
	if other := find(d.root, "", name); other != "" {
		return " here: is " + other + " meant?"
	}
	return ": `konzil config` prints all settings"
}

// find looks for a setting by its last name in a struct type and those below.
func find(t reflect.Type, path, name string) string {
	if t.Kind() != reflect.Struct || isScalar(t) {
		return ""
	}
	all := fields(t)
	for _, f := range all {
		if f.name == name {
			return join(path, name)
		}
	}
	for _, f := range all {
		if found := find(t.FieldByIndex(f.index).Type, join(path, f.name), name); found != "" {
			return found
		}
	}
	return ""
}

// maxCompared bounds the cost of distance, which grows with the product of the lengths; no setting's name is longer.
const maxCompared = 64

// distance is the number of letters to insert, delete, replace or swap with their neighbour to make b of a
// (Damerau-Levenshtein, optimal string alignment).
func distance(a, b string) int {
	if len(a) > maxCompared || len(b) > maxCompared {
		return maxCompared
	}
	var before []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur := make([]int, len(b)+1)
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev = prev, cur
	}
	return prev[len(b)]
}
