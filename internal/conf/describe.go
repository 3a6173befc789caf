package conf

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// lineWidth is where comments are wrapped.
const lineWidth = 100

// Describe prints the struct v as YAML with its values, each setting under its documentation. Load of the text into a struct of
// the same type gives v back.
func Describe(v any) string {
	rv := reflect.Indirect(reflect.ValueOf(v))
	if rv.Kind() != reflect.Struct {
		panic(fmt.Sprintf("conf: Describe of %T, which is no struct", v))
	}
	var p printer
	p.structure(rv, "", true)
	return p.String()
}

type printer struct{ strings.Builder }

// structure prints all settings of v. A prefix of the first line, like "- " of a list, is already printed unless fresh.
func (p *printer) structure(v reflect.Value, indent string, fresh bool) {
	for i, f := range fields(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if fv.Kind() == reflect.Pointer && fv.IsNil() {
			continue
		}
		fv = reflect.Indirect(fv)
		if fresh {
			if i > 0 && (indent == "" || f.doc != "") {
				p.WriteByte('\n')
			}
			p.comment(f.doc, indent)
		}
		if i > 0 || fresh {
			p.WriteString(indent)
		}
		p.WriteString(f.name + ":")
		p.value(fv, indent)
	}
}

// comment prints text in lines of # up to lineWidth.
func (p *printer) comment(text, indent string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(indent)+len("# ")+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > lineWidth {
			p.WriteString(indent + "# " + line + "\n")
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		p.WriteString(indent + "# " + line + "\n")
	}
}

// value prints what follows the colon of a setting that stands at indent.
func (p *printer) value(v reflect.Value, indent string) {
	deeper := indent + "  "
	switch {
	case isScalar(v.Type()):
		p.WriteString(" " + scalarText(v) + "\n")
	case v.Kind() == reflect.Struct:
		p.WriteByte('\n')
		p.structure(v, deeper, true)
	case v.Kind() == reflect.Slice && isScalar(v.Type().Elem()):
		items := make([]string, v.Len())
		for i := range items {
			items[i] = scalarText(v.Index(i))
		}
		p.WriteString(" [" + strings.Join(items, ", ") + "]\n")
	case v.Kind() == reflect.Slice && v.Len() == 0:
		p.WriteString(" []\n")
	case v.Kind() == reflect.Slice:
		p.WriteByte('\n')
		for i := range v.Len() {
			p.WriteString(deeper + "- ")
			p.structure(reflect.Indirect(v.Index(i)), deeper+"  ", false)
		}
	case v.Kind() == reflect.Map && v.Len() == 0:
		p.WriteString(" {}\n")
	case v.Kind() == reflect.Map:
		p.WriteByte('\n')
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			p.WriteString(deeper + quoted(k.String()) + ":")
			p.value(reflect.Indirect(v.MapIndex(k)), deeper)
		}
	default:
		panic(fmt.Sprintf("conf: type %s cannot be configured", v.Type()))
	}
}

func scalarText(v reflect.Value) string {
	if v.Type() == durationType {
		return formatDuration(time.Duration(v.Int()))
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			panic(fmt.Sprintf("conf: a %s does not print: %v", v.Type(), err))
		}
		return quoted(string(text))
	}
	switch {
	case v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case v.Kind() == reflect.String:
		return quoted(v.String())
	case isInt(v.Type()):
		return strconv.FormatInt(v.Int(), 10)
	case isUint(v.Type()):
		return strconv.FormatUint(v.Uint(), 10)
	}
	return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
}

// quoted gives a YAML scalar that reads as s: plain where nothing can be mistaken, else in double quotes.
func quoted(s string) string {
	plain := s != "" && s != "null" && s != "Null" && s != "NULL"
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '/'
		if !letter && (i == 0 && (r < '1' || r > '9') || (r < '0' || r > '9') && !strings.ContainsRune("._-+", r)) {
			plain = false
		}
	}
	if plain {
		return s
	}
	// Go's escapes inside double quotes are all YAML's too (YAML 1.2 §5.7), for valid UTF-8.
	return strconv.Quote(strings.ToValidUTF8(s, "\uFFFD"))
}
