package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	_ "unsafe" // for go:linkname

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	_ "github.com/siderolabs/talos/pkg/machinery/config/types" // registers the documents
	"gopkg.in/yaml.v3"
)

// registered is the library's own table of documents, so that none is forgotten.
//
//go:linkname registered github.com/siderolabs/talos/pkg/machinery/config/internal/registry.registry
var registered *struct {
	m          sync.Mutex
	registered map[string]func(version string) config.Document
}

// field is one key of a struct, in the order in which the library writes it.
type field struct {
	Name      string `json:"name"`
	Go        string `json:"go"`
	Type      string `json:"type"`
	OmitEmpty bool   `json:"omitempty,omitempty"`
	Inline    bool   `json:"inline,omitempty"`
	Flow      bool   `json:"flow,omitempty"`
	Replace   bool   `json:"replace,omitempty"`
}

// named is a type with a name: what it is made of, and which parts of YAML or merging it does by itself.
type named struct {
	Kind   string   `json:"kind"`
	Elem   string   `json:"elem,omitempty"`
	Fields []field  `json:"fields,omitempty"`
	Custom []string `json:"custom,omitempty"`
	Values []string `json:"values,omitempty"`
}

// document is a kind that the library registers; Named ones are matched by name too.
type document struct {
	Type      string   `json:"type"`
	Named     bool     `json:"named,omitempty"`
	Validates bool     `json:"validates,omitempty"`
	Conflicts []string `json:"conflicts,omitempty"`
}

type schema struct {
	Library   string              `json:"library"`
	Documents map[string]document `json:"documents"`
	Types     map[string]named    `json:"types"`
}

var (
	marshaler       = reflect.TypeFor[yaml.Marshaler]()
	unmarshaler     = reflect.TypeFor[yaml.Unmarshaler]()
	oldUnmarshaler  = reflect.TypeFor[interface{ UnmarshalYAML(func(any) error) error }]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	merger          = reflect.TypeFor[interface{ Merge(any) error }]()
	zeroer          = reflect.TypeFor[yaml.IsZeroer]()
)

// dumpSchema describes every registered document by reflection.
func dumpSchema() ([]byte, error) {
	out := schema{
		Library:   "github.com/siderolabs/talos/pkg/machinery v1.11.2",
		Documents: map[string]document{},
		Types:     map[string]named{},
	}
	for kind, build := range registered.registered {
		// The old configuration is registered as version "" of kind v1alpha1, the others the other way round.
		target := build("v1alpha1")
		if kind == "v1alpha1" {
			target = build("")
		}
		_, isNamed := target.(config.NamedDocument)
		_, validates := target.(config.Validator)
		entry := document{Named: isNamed, Validates: validates}
		if conflicting, ok := target.(config.ConflictingDocument); ok {
			entry.Conflicts = conflicting.ConflictsWithKinds()
		}
		entry.Type = out.add(reflect.TypeOf(target).Elem())
		out.Documents[kind] = entry
	}
	return out.text()
}

// text writes one line a document and one a field, so that a change of the library reads well as a difference.
func (s *schema) text() ([]byte, error) {
	out := []byte("{\n\"library\": \"" + s.Library + "\",\n\"documents\": {\n")
	for i, kind := range slices.Sorted(maps.Keys(s.Documents)) {
		line, err := json.Marshal(s.Documents[kind])
		if err != nil {
			return nil, err
		}
		out = fmt.Appendf(out, "%s%q: %s", separator(i), kind, line)
	}
	out = append(out, "\n},\n\"types\": {\n"...)
	for i, name := range slices.Sorted(maps.Keys(s.Types)) {
		entry := s.Types[name]
		fields := entry.Fields
		entry.Fields = nil
		head, err := json.Marshal(entry)
		if err != nil {
			return nil, err
		}
		out = fmt.Appendf(out, "%s%q: %s", separator(i), name, strings.TrimSuffix(string(head), "}"))
		if len(fields) > 0 {
			out = append(out, `,"fields":[`+"\n"...)
			for j, one := range fields {
				line, err := json.Marshal(one)
				if err != nil {
					return nil, err
				}
				out = fmt.Appendf(out, "%s %s", separator(j), line)
			}
			out = append(out, ']')
		}
		out = append(out, '}')
	}
	return append(out, "\n}\n}\n"...), nil
}

func separator(i int) string {
	if i == 0 {
		return ""
	}
	return ",\n"
}

// add describes a type and those below it; it answers how fields refer to it.
func (s *schema) add(t reflect.Type) string {
	if t.Name() == "" {
		switch t.Kind() {
		case reflect.Pointer:
			return "*" + s.add(t.Elem())
		case reflect.Slice:
			return "[]" + s.add(t.Elem())
		case reflect.Map:
			return "map[" + s.add(t.Key()) + "]" + s.add(t.Elem())
		case reflect.Interface:
			return "any"
		default:
			panic(fmt.Sprintf("no word for %s", t))
		}
	}
	if t.PkgPath() == "" {
		return t.Name()
	}
	name := t.String()
	if _, seen := s.Types[name]; seen {
		return name
	}
	entry := named{Kind: t.Kind().String(), Custom: custom(t)}
	s.Types[name] = entry
	switch {
	case slices.Contains(entry.Custom, "unmarshal") && !slices.Contains(entry.Custom, "list"):
		// The library reads it as one scalar: its parts are no keys.
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if tag := t.Field(i); tag.IsExported() && tag.Tag.Get("yaml") != "-" {
				entry.Fields = append(entry.Fields, s.field(tag))
			}
		}
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Map:
		entry.Elem = s.add(t.Elem())
	}
	if slices.Contains(entry.Custom, "unmarshaltext") && isInteger(t.Kind()) {
		entry.Values = values(t)
	}
	s.Types[name] = entry
	return name
}

func (s *schema) field(f reflect.StructField) field {
	parts := strings.Split(f.Tag.Get("yaml"), ",")
	name := parts[0]
	if name == "" {
		name = strings.ToLower(f.Name)
	}
	return field{
		Name:      name,
		Go:        f.Name,
		Type:      s.add(f.Type),
		OmitEmpty: slices.Contains(parts[1:], "omitempty"),
		Inline:    slices.Contains(parts[1:], "inline"),
		Flow:      slices.Contains(parts[1:], "flow"),
		Replace:   slices.Contains(strings.Split(f.Tag.Get("merge"), ","), "replace"),
	}
}

// custom lists what the type, or a pointer to it, does by itself. A leading * says that only the pointer does.
func custom(t reflect.Type) []string {
	var out []string
	pointer := reflect.PointerTo(t)
	for _, ability := range []struct {
		word string
		of   reflect.Type
	}{
		{"marshal", marshaler}, {"marshaltext", textMarshaler}, {"unmarshal", unmarshaler}, {"unmarshal", oldUnmarshaler},
		{"unmarshaltext", textUnmarshaler}, {"merge", merger}, {"iszero", zeroer},
	} {
		switch {
		case t.Implements(ability.of):
			out = append(out, ability.word)
		case pointer.Implements(ability.of):
			if strings.HasPrefix(ability.word, "marshal") {
				out = append(out, "*"+ability.word)
			} else {
				out = append(out, ability.word)
			}
		}
	}
	if t.Kind() == reflect.Slice && slices.Contains(out, "unmarshal") && t.Elem().Kind() == reflect.Struct {
		out = append(out, "list")
	}
	return out
}

// values lists the words of an enumeration, by asking for the text of each small number.
func values(t reflect.Type) []string {
	var out []string
	for i := range 256 {
		number := reflect.New(t)
		if number.Elem().CanInt() {
			number.Elem().SetInt(int64(i))
		} else {
			number.Elem().SetUint(uint64(i))
		}
		text, err := number.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			continue
		}
		if reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText(text) == nil {
			out = append(out, fmt.Sprintf("%d=%s", i, text))
		}
	}
	return out
}

func isInteger(kind reflect.Kind) bool { return kind >= reflect.Int && kind <= reflect.Uint64 }
