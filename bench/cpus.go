package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// splitCPUs says which CPUs the server and the generator use. Empty is any.
func splitCPUs(server, generator string, all []int) (srv, gen []int, err error) {
	switch server {
	case "auto":
		if len(all) > 1 {
			srv = all[:len(all)/2]
		}
	case "none", "":
	default:
		if srv, err = parseCPUs(server, all); err != nil {
			return nil, nil, err
		}
	}
	switch generator {
	case "auto":
		if len(srv) > 0 {
			gen = slices.DeleteFunc(slices.Clone(all), func(c int) bool { return slices.Contains(srv, c) })
		}
	case "none", "":
	default:
		gen, err = parseCPUs(generator, all)
	}
	return srv, gen, err
}

// parseCPUs reads a list such as 0-3,8.
func parseCPUs(s string, all []int) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		a, b, ok := strings.Cut(part, "-")
		if !ok {
			b = a
		}
		first, err1 := strconv.Atoi(a)
		last, err2 := strconv.Atoi(b)
		if err1 != nil || err2 != nil || first > last {
			return nil, fmt.Errorf("CPUs %q: write them like 0-3,8", s)
		}
		for c := first; c <= last; c++ {
			if !slices.Contains(all, c) {
				return nil, fmt.Errorf("CPUs %q: this process may use %s", s, cpuList(all))
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// cpuList is the reverse of parseCPUs, without ranges; empty is "any".
func cpuList(cpus []int) string {
	if len(cpus) == 0 {
		return "any"
	}
	s := make([]string, len(cpus))
	for i, c := range cpus {
		s[i] = strconv.Itoa(c)
	}
	return strings.Join(s, ",")
}
