// Package conf reads the configuration file and prints its documentation, both from one struct.
//
// A field takes part when it has a yaml tag; its doc tag says what it means. The path of a file:
//
//  1. Load (conf.go) parses the YAML into nodes, which know their lines.
//  2. decoder.value (decode.go) walks nodes and struct together: an unknown key, a key given twice or a value of the wrong type
//     ends it with the line and what would be right. What the file does not name keeps its default.
//  3. Describe (describe.go) prints a struct's values as YAML with the doc tags as comments. Load of its output gives the same values.
//
// There is no goroutine here.
package conf

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file, in bytes. The whole of ours, documented, is about 10 kB.
const maxFile = 1 << 20

// Error is a mistake in a configuration file.
type Error struct {
	Line    int    // from 1; 0: unknown
	Setting string // http.port; empty: the file as a whole
	Message string // what is wrong and what would be right
}

// Error gives `line 3: http.port: "abc" is not a whole number`.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		b.WriteString("line " + strconv.Itoa(e.Line) + ": ")
	}
	if e.Setting != "" {
		b.WriteString(e.Setting + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Load puts the settings of a YAML file's text into the struct that dst points to. What the text does not name is left as
// it is, so dst should hold the defaults; a list replaces the default list, a map adds to the default map. The error is an
// *Error, and dst then holds a part of the settings.
func Load(text []byte, dst any) error {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("conf: Load into %T, which is no pointer to a struct", dst))
	}
	if len(text) > maxFile {
		return &Error{Message: fmt.Sprintf("the file is longer than %d bytes", maxFile)}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // nothing but comments
		}
		return syntax(err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return &Error{Line: second.Line, Message: "a second document begins here; there may be one only"}
	} else if !errors.Is(err, io.EOF) {
		return syntax(err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return &Error{Line: 1, Message: "this is no YAML document"}
	}
	d := decoder{root: v.Elem().Type()}
	return d.value(doc.Content[0], v.Elem(), "")
}

// syntax turns the YAML parser's message, which has a line in its text, into an Error.
func syntax(err error) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if number, after, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, msg = n, after
			}
		}
	}
	return &Error{Line: line, Message: "not valid YAML: " + strings.ReplaceAll(msg, "\n", " ")}
}

// field is one setting of a struct.
type field struct {
	name  string
	doc   string
	index []int
}

// fields lists the settings of a struct type in order; an inline struct's fields count as its own.
func fields(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("yaml")
		if !ok || tag == "-" || !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if options == "inline" {
			for _, sub := range fields(f.Type) {
				sub.index = append([]int{i}, sub.index...)
				all = append(all, sub)
			}
			continue
		}
		all = append(all, field{name: name, doc: f.Tag.Get("doc"), index: []int{i}})
	}
	return all
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
