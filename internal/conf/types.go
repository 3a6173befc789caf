package conf

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as 65536, 256KiB or 10MB.
type Size int64

var sizeType = reflect.TypeFor[Size]()

// units of Size, the long ones first; the first that divides a size is used to print it.
var units = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText reads a size; it is not negative.
func (s *Size) UnmarshalText(text []byte) error {
	number, factor := strings.TrimSpace(string(text)), int64(1)
	for _, u := range units {
		if i := len(number) - len(u.name); i > 0 && strings.EqualFold(number[i:], u.name) {
			number, factor = strings.TrimSpace(number[:i]), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(number, "_", ""), 10, 64)
	if err != nil {
		return err
	}
	if n < 0 || n > math.MaxInt64/factor {
		return strconv.ErrRange
	}
	*s = Size(n * factor)
	return nil
}

// String gives the shortest exact form.
func (s Size) String() string {
	for _, u := range units {
		if u.bytes > 1 && s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

const day = 24 * time.Hour

// parseDuration is time.ParseDuration with days in front (7d, 1d12h), and without negative ones. A bare 0 is fine, other bare
// numbers are not: of what?
func parseDuration(s string) (time.Duration, bool) {
	var days time.Duration
	if before, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(before, 10, 16)
		if err != nil {
			return 0, false
		}
		if days = time.Duration(n) * day; after == "" {
			return days, true
		}
		s = after
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d+days < 0 {
		return 0, false
	}
	return d + days, true
}

// formatDuration gives the shortest form that parseDuration reads: 10m rather than 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	if d > 0 && d%day == 0 && d/day <= math.MaxUint16 {
		s = strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return s
}
