package conf

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

type decoder struct {
	root reflect.Type // for suggestions
}

func fail(n *yaml.Node, path, format string, args ...any) error {
	return &Error{Line: n.Line, Setting: path, Message: fmt.Sprintf(format, args...)}
}

// value puts one node into v. path is the setting's name from the root.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return fail(n, path, "anchors and aliases (& and *) are not supported: write the value out")
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil // a key without a value keeps the default
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return d.value(n, v.Elem(), path)
	}
	if isScalar(v.Type()) {
		if n.Kind != yaml.ScalarNode {
			return fail(n, path, "a single value is wanted here: %s", wanted(v.Type()))
		}
		return scalar(n, v, path)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.structure(n, v, path)
	case reflect.Slice:
		return d.list(n, v, path)
	case reflect.Map:
		return d.mapping(n, v, path)
	}
	panic(fmt.Sprintf("conf: %s has type %s, which cannot be configured", path, v.Type()))
}

// pairs calls fn for each key and value of a mapping, and refuses keys given twice.
func pairs(n *yaml.Node, path string, fn func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		if path == "" {
			return fail(n, path, "settings are wanted here, like domain: example.org")
		}
		return fail(n, path, "settings are wanted below this, indented, like the ones that `konzil config` prints")
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Anchor != "" {
			return fail(key, path, "a setting's name is wanted here")
		}
		if line, twice := seen[key.Value]; twice {
			return fail(key, join(path, key.Value), "given already in line %d: keep one of them", line)
		}
		seen[key.Value] = key.Line
		if err := fn(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) error {
	known := fields(v.Type())
	return pairs(n, path, func(key, value *yaml.Node) error {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == key.Value })
		if i < 0 {
			return fail(key, join(path, key.Value), "there is no such setting%s", d.suggest(known, path, key.Value))
		}
		return d.value(value, v.FieldByIndex(known[i].index), join(path, key.Value))
	})
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.SequenceNode {
		return fail(n, path, "a list is wanted here, like [%s]", example(v.Type().Elem()))
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		if err := d.value(item, out.Index(i), path+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	v.Set(out)
	return nil
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) error {
	out := reflect.MakeMap(v.Type())
	for it := v.MapRange(); it.Next(); {
		out.SetMapIndex(it.Key(), it.Value())
	}
	err := pairs(n, path, func(key, value *yaml.Node) error {
		item := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(value, item, join(path, key.Value)); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
		return nil
	})
	if err == nil {
		v.Set(out)
	}
	return err
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isScalar tells whether a type is written as one value.
func isScalar(t reflect.Type) bool {
	if t == durationType || reflect.PointerTo(t).Implements(textType) {
		return true
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64:
		return true
	}
	return isInt(t) || isUint(t)
}

func isInt(t reflect.Type) bool  { return t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64 }
func isUint(t reflect.Type) bool { return t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 }

// wanted says in words what a type takes.
func wanted(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration, like 30s, 5m, 1h30m or 7d"
	case t == sizeType:
		return "a size, like 65536, 256KiB or 10MB"
	case t.PkgPath() == "net/netip" && t.Name() == "Addr":
		return "an IP address, like 192.0.2.1 or 2001:db8::1"
	case t.PkgPath() == "net/netip" && t.Name() == "AddrPort":
		return "an IP address and port, like 0.0.0.0:443 or [::]:443"
	case t.PkgPath() == "net/netip" && t.Name() == "Prefix":
		return "a network, like 10.0.0.0/8 or 2001:db8::/32"
	case reflect.PointerTo(t).Implements(textType):
		return "a " + t.Name()
	case t.Kind() == reflect.Bool:
		return "true or false"
	case isInt(t) && t.Bits() == 64:
		return "a whole number"
	case isInt(t):
		return fmt.Sprintf("a whole number between %d and %d", int64(math.MinInt64)>>(64-t.Bits()), int64(math.MaxInt64)>>(64-t.Bits()))
	case isUint(t):
		return fmt.Sprintf("a whole number between 0 and %d", uint64(math.MaxUint64)>>(64-t.Bits()))
	case t.Kind() == reflect.String:
		return "a text"
	}
	return "a number"
}

func example(t reflect.Type) string {
	if !isScalar(t) {
		return "..."
	}
	_, like, ok := strings.Cut(wanted(t), "like ")
	if !ok {
		return "a, b"
	}
	like, _, _ = strings.Cut(like, " or ")
	return like
}

// scalar puts a single value into v.
func scalar(n *yaml.Node, v reflect.Value, path string) error {
	bad := func() error { return fail(n, path, "%q is not %s", n.Value, wanted(v.Type())) }
	t := v.Type()
	if t == durationType {
		d, ok := parseDuration(n.Value)
		if !ok {
			return bad()
		}
		v.SetInt(int64(d))
		return nil
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if u.UnmarshalText([]byte(n.Value)) != nil {
			return bad()
		}
		return nil
	}
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	switch {
	case t.Kind() == reflect.String:
		v.SetString(n.Value) // a number or yes is a text where a text is wanted
		return nil
	case quoted:
		return bad()
	case t.Kind() == reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			return bad()
		}
		v.SetBool(n.Value == "true")
	case isInt(t):
		x, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 10, t.Bits())
		if err != nil {
			return bad()
		}
		v.SetInt(x)
	case isUint(t):
		x, err := strconv.ParseUint(strings.ReplaceAll(n.Value, "_", ""), 10, t.Bits())
		if err != nil {
			return bad()
		}
		v.SetUint(x)
	default:
		x, err := strconv.ParseFloat(n.Value, t.Bits())
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return bad()
		}
		v.SetFloat(x)
	}
	return nil
}
